package main

import (
	"encoding/json"
	"fmt"
	"io"
	"sync"

	"github.com/cyvive/cyvive/hack/qemu/vmtest/wire"
)

// sender writes frames. Its streams may be used by several goroutines at once.
type sender struct {
	mu sync.Mutex
	w  io.Writer
}

func (s *sender) send(kind wire.Kind, payload []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, err := s.w.Write(wire.Append(nil, kind, payload)); err != nil {
		return fmt.Errorf("send frame: %w", err)
	}
	return nil
}

func (s *sender) sendResult(result wire.Result) error {
	data, err := json.Marshal(result)
	if err != nil {
		return fmt.Errorf("send result: %w", err)
	}
	return s.send(wire.Exit, data)
}

// stream returns a writer whose bytes become frames of one kind.
func (s *sender) stream(kind wire.Kind) io.Writer { return streamWriter{s, kind} }

type streamWriter struct {
	sender *sender
	kind   wire.Kind
}

// Write implements io.Writer.
func (w streamWriter) Write(p []byte) (int, error) {
	for sent := 0; sent < len(p); sent += wire.MaxPayloadBytes {
		chunk := p[sent:min(len(p), sent+wire.MaxPayloadBytes)]
		if err := w.sender.send(w.kind, chunk); err != nil {
			return sent, err
		}
	}
	return len(p), nil
}
