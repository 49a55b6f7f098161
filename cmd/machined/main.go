// Command machined is the machine agent of a Cyvive node. Init starts it, and starts it again when it ends. It makes the adapters of the
// running machine, hands them to package machined, and turns signals into its end: SIGTERM ends the agent alone and leaves all it started
// running; SIGPWR stops what the node runs first, since the machine is going down.
package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/cyvive/cyvive/internal/machined"
	"github.com/cyvive/cyvive/internal/machined/boot/marker"
)

// The agent's heap stays small: collect at half of the usual growth, and earlier near the limit.
const (
	gcPercent        = 50
	memoryLimitBytes = 160 << 20
)

func main() {
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	if err := run(log); err != nil {
		log.Error("machined ends", "error", err)
		os.Exit(1)
	}
}

func run(log *slog.Logger) error {
	m, err := marker.Read(marker.DefaultPath)
	if err != nil {
		return fmt.Errorf("machined runs on a Cyvive node only, started by its init; nothing was done: %w", err)
	}
	if os.Getppid() != 1 || os.Geteuid() != 0 {
		return fmt.Errorf("machined is started by init, as root; this is user %d and parent process %d; nothing was done", os.Geteuid(), os.Getppid())
	}
	debug.SetGCPercent(gcPercent)
	debug.SetMemoryLimit(memoryLimitBytes)

	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGPWR)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	cfg, done, err := adapters(log, m)
	if err != nil {
		return err
	}
	defer done()
	agent, err := machined.New(cfg)
	if err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- agent.Run(ctx) }()
	log.Info("machined started", "version", cfg.Boot.Version.OS, "slot", m.Slot)
	select {
	case err := <-ended:
		return err
	case s := <-signals:
		if s == syscall.SIGPWR {
			log.Info("stopping what the node runs")
			if err := agent.Teardown(ctx); err != nil {
				log.Error("stop what the node runs", "error", err)
			}
		}
	}
	cancel()
	return <-ended
}
