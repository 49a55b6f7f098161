// Command demo is the demonstration pod: a small HTTP server that says where
// it runs. With --diagnose it also answers what it can see of its surroundings,
// for tests of the node's isolation and of the cluster's services; with --ask it
// keeps asking another one.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// version is set by the linker.
var version = "unknown"

const (
	readHeaderTimeout = 5 * time.Second
	shutdownTimeout   = 5 * time.Second
)

func main() {
	listen := flag.String("listen", ":8080", "address to listen on")
	diagnose := flag.Bool("diagnose", false, "also serve /processes, /mounts, /blocks, /write, /resolve, /fetch, /put, /fill, /get, /room, /size, /count and /counted")
	ask := flag.String("ask", "", "URL of a service of these servers to ask all the time; /asked tells of the answers")
	flag.Parse()
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	if err := serve(*listen, *diagnose, *ask, log); err != nil {
		log.Error("serve", "error", err)
		os.Exit(1)
	}
}

func serve(listen string, diagnose bool, ask string, log *slog.Logger) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	hostname, err := os.Hostname()
	if err != nil {
		return fmt.Errorf("read host name: %w", err)
	}
	m := handler(hostname, "/proc", diagnose, time.Now)
	if ask != "" {
		a := newAsker(ask)
		go a.run(ctx)
		m.HandleFunc("GET /asked", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, a.result()) })
	}
	s := &http.Server{
		Addr:              listen,
		Handler:           m,
		ReadHeaderTimeout: readHeaderTimeout,
	}
	done := make(chan error, 1)
	go func() {
		<-ctx.Done()
		end, cancel := context.WithTimeout(context.Background(), shutdownTimeout)
		defer cancel()
		done <- s.Shutdown(end)
	}()
	log.Info("listening", "address", listen, "version", version, "diagnose", diagnose)
	if err := s.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("listen: %w", err)
	}
	return <-done
}
