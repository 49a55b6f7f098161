package supervise

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/cyvive/cyvive/internal/machined/supervise/logring"
)

// Limits of logs: two files of logLimitBytes each, and at most maxFIFOs open
// on request.
const (
	logLimitBytes = 1 << 20
	maxFIFOs      = 64
)

// Logs are the rings of one directory. Its methods may be called at once.
type Logs struct {
	dir string
	log *slog.Logger

	mu    sync.Mutex
	rings map[string]*logring.Writer
	fifos map[string]string
}

// NewLogs keeps rings in dir, which is made when it is not there.
func NewLogs(dir string, log *slog.Logger) (*Logs, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("make log directory: %w", err)
	}
	return &Logs{dir: dir, log: log, rings: map[string]*logring.Writer{}, fifos: map[string]string{}}, nil
}

// Pipe returns the write end of a pipe that is copied into the ring of name
// until its last writer closes it, and line by line to tee when that is not
// nil. The caller closes the returned end once its child has it.
func (l *Logs) Pipe(name string, tee func(line []byte)) (*os.File, error) {
	ring, err := l.ring(name)
	if err != nil {
		return nil, err
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("make log pipe: %w", err)
	}
	go l.copy(name, ring, r, tee)
	return w, nil
}

// FIFO returns the path of a named pipe that feeds the ring of name. It is
// held open for reading and writing, so that it never ends.
func (l *Logs) FIFO(name string) (string, error) {
	ring, err := l.ring(name)
	if err != nil {
		return "", err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if path, ok := l.fifos[name]; ok {
		return path, nil
	}
	if len(l.fifos) >= maxFIFOs {
		return "", fmt.Errorf("open log %s: %d logs are open already", name, maxFIFOs)
	}
	path := filepath.Join(l.dir, name+".fifo")
	if err := unix.Mkfifo(path, 0o600); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", fmt.Errorf("make log FIFO: %w", err)
	}
	// With O_NONBLOCK the runtime polls it, and holds no thread in read(2).
	f, err := os.OpenFile(path, os.O_RDWR|unix.O_NONBLOCK, 0)
	if err != nil {
		return "", fmt.Errorf("open log FIFO: %w", err)
	}
	l.fifos[name] = path
	go l.copy(name, ring, f, nil)
	return path, nil
}

func (l *Logs) ring(name string) (*logring.Writer, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if w := l.rings[name]; w != nil {
		return w, nil
	}
	w, err := logring.Open(filepath.Join(l.dir, name+".log"), logLimitBytes)
	if err != nil {
		return nil, err
	}
	l.rings[name] = w
	return w, nil
}

// copy moves whole lines where it can, so that two writers do not mix. What
// the ring refuses is lost: a service must never block on its log.
func (l *Logs) copy(name string, ring io.Writer, from io.ReadCloser, tee func([]byte)) {
	defer from.Close()
	defer func() {
		if p := recover(); p != nil {
			l.log.Error("log copy broke", "log", name, "panic", fmt.Sprint(p))
		}
	}()
	buf := make([]byte, 8<<10)
	have := 0
	for {
		n, err := from.Read(buf[have:])
		have += n
		end := bytes.LastIndexByte(buf[:have], '\n') + 1
		if end == 0 && (have == len(buf) || err != nil) {
			end = have
		}
		if end > 0 {
			ring.Write(buf[:end])
			if tee != nil {
				for line := range bytes.Lines(buf[:end]) {
					tee(bytes.TrimRight(line, "\r\n"))
				}
			}
			have = copy(buf, buf[end:have])
		}
		if err != nil {
			return
		}
	}
}
