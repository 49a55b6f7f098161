// Package wire is a party on a machine's network: it sees every frame, and sends
// frames of its own. With it a test scans a node from the outside, and watches
// what a node sends.
package wire

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"

	"github.com/cyvive/cyvive/hack/qemu/network"
)

// maxFrameBytes is more than any card of a guest sends: offloads stop at 64 KiB.
const maxFrameBytes = 1 << 17

// Wire is the connection to one machine's network. Frames are handed out one by
// one, to every listener; all methods may be called by several goroutines.
type Wire struct {
	conn  *net.UnixConn
	guest *net.UnixAddr
	dir   *os.File

	mu        sync.Mutex
	next      int
	listeners map[int]func(frame []byte)
	done      chan struct{}
}

// Open joins the network of the machine in dir. The machine need not run yet, and
// loses nothing when nobody has joined. The caller closes the Wire.
func Open(dir string) (*Wire, error) {
	folder, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("join network: %w", err)
	}
	// The way through the descriptor keeps addresses short (unix(7)).
	address := func(name string) *net.UnixAddr {
		return &net.UnixAddr{Net: "unixgram", Name: filepath.Join("/proc/self/fd", fmt.Sprint(folder.Fd()), name)}
	}
	if err := os.Remove(filepath.Join(dir, network.WireHost)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, errors.Join(fmt.Errorf("join network: %w", err), folder.Close())
	}
	conn, err := net.ListenUnixgram("unixgram", address(network.WireHost))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("join network: %w", err), folder.Close())
	}
	_ = conn.SetReadBuffer(8 << 20) // as much as the kernel gives
	w := &Wire{conn: conn, guest: address(network.WireGuest), dir: folder, listeners: map[int]func([]byte){}, done: make(chan struct{})}
	go w.read()
	return w, nil
}

func (w *Wire) read() {
	defer close(w.done)
	buffer := make([]byte, maxFrameBytes)
	for {
		n, err := w.conn.Read(buffer)
		if err != nil {
			return // closed
		}
		w.mu.Lock()
		for _, listen := range w.listeners {
			listen(buffer[:n])
		}
		w.mu.Unlock()
	}
}

// Listen calls for every frame until stop is called. The frame is valid during
// the call only, which must not call the Wire's methods.
func (w *Wire) Listen(each func(frame []byte)) (stop func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	id := w.next
	w.next++
	w.listeners[id] = each
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.listeners, id)
	}
}

// Send sends one frame to everybody on the network.
func (w *Wire) Send(frame []byte) error {
	if _, err := w.conn.WriteToUnix(frame, w.guest); err != nil {
		return fmt.Errorf("send frame: %w", err)
	}
	return nil
}

// Close leaves the network, and waits until no listener is called any more.
func (w *Wire) Close() error {
	err := w.conn.Close()
	<-w.done
	return errors.Join(err, w.dir.Close())
}
