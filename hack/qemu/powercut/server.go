package powercut

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"sync"
)

// Server lets one machine after the other use a disk, over a unix socket. Its methods may be called concurrently.
type Server struct {
	listener net.Listener
	done     chan struct{}

	mu   sync.Mutex
	disk *Disk
	conn net.Conn
	// free is closed when the client that is served has gone.
	free   chan struct{}
	failed error
}

// Serve makes a socket of a name in a folder, which may have a long path (unix(7)), and serves whoever connects. The disk stays the caller's.
func Serve(dir, name string, d *Disk) (*Server, error) {
	folder, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("serve disk: %w", err)
	}
	defer folder.Close()
	if err := os.Remove(filepath.Join(dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("serve disk: %w", err)
	}
	// The way through the descriptor keeps the address short. It is of use for binding only: the socket is removed by its own path.
	l, err := net.ListenUnix("unix", &net.UnixAddr{Net: "unix", Name: filepath.Join("/proc/self/fd", fmt.Sprint(folder.Fd()), name)})
	if err != nil {
		return nil, fmt.Errorf("serve disk: %w", err)
	}
	l.SetUnlinkOnClose(false)
	s := &Server{listener: l, disk: d, done: make(chan struct{})}
	go s.accept()
	return s, nil
}

// accept serves one client after the other: a disk has one cable.
func (s *Server) accept() {
	defer close(s.done)
	for {
		conn, err := s.listener.Accept()
		if err != nil {
			return // closed
		}
		s.mu.Lock()
		disk := s.disk
		s.conn, s.free = conn, make(chan struct{})
		s.mu.Unlock()
		err = handle(conn, disk)
		_ = conn.Close()
		s.mu.Lock()
		if err != nil && s.failed == nil {
			s.failed = err
		}
		close(s.free)
		s.conn, s.free = nil, nil
		s.mu.Unlock()
	}
}

// Cut is the power cut of a machine that has been ended: it disconnects it, whatever it has still sent, and cuts the disk.
func (s *Server) Cut() (Loss, error) {
	d := s.disconnect()
	loss, err := d.Cut()
	if err != nil {
		return loss, fmt.Errorf("cut power of disk: %w", err)
	}
	return loss, s.err()
}

// Use puts another disk into the place of the one before, which is returned. No machine may be using it.
func (s *Server) Use(d *Disk) (*Disk, error) {
	old := s.disconnect()
	s.mu.Lock()
	s.disk = d
	s.mu.Unlock()
	return old, s.err()
}

// Disk is the disk that is served.
func (s *Server) Disk() *Disk {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.disk
}

// disconnect ends the connection, if there is one, and waits until nothing of it is under way.
func (s *Server) disconnect() *Disk {
	s.mu.Lock()
	conn, free, disk := s.conn, s.free, s.disk
	s.mu.Unlock()
	if conn != nil {
		_ = conn.Close()
		<-free
	}
	return disk
}

// err is what went wrong with the medium or the protocol, once.
func (s *Server) err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	err := s.failed
	s.failed = nil
	return err
}

// Close ends the server. The disk stays as it is.
func (s *Server) Close() error {
	err := s.listener.Close()
	s.disconnect()
	<-s.done
	return errors.Join(err, s.err())
}

// handle serves one client to its end, which is no error, in whatever place it comes: machines are killed.
func handle(conn io.ReadWriter, d *Disk) error {
	err := negotiate(conn, d.SizeBytes())
	if err == nil {
		in, out := bufio.NewReaderSize(conn, 256<<10), bufio.NewWriterSize(conn, 256<<10)
		for err == nil {
			err = serveOne(in, out, d)
		}
	}
	if errors.Is(err, errProtocol) || errors.Is(err, errMedium) {
		return err
	}
	return nil
}

// errMedium says that the host has failed, of which the guest is told as an I/O error.
var errMedium = errors.New("the disk's file on the host")

// serveOne answers one command.
func serveOne(in *bufio.Reader, out *bufio.Writer, d *Disk) error {
	r, err := readRequest(in)
	if err != nil {
		return err
	}
	var data []byte
	if r.kind == cmdRead || r.kind == cmdWrite {
		if r.length > maxPayloadBytes {
			return fmt.Errorf("%w: a request for %d bytes", errProtocol, r.length)
		}
		data = make([]byte, r.length)
	}
	if r.kind == cmdWrite {
		if _, err := io.ReadFull(in, data); err != nil {
			return err
		}
	}
	if r.kind == cmdDisconnect {
		return io.EOF
	}
	code, failed := uint32(0), do(d, r, data)
	switch {
	case failed == nil:
	case errors.Is(failed, ErrRange):
		code = errInvalid
	case errors.Is(failed, ErrBroken):
		code, failed = errIO, nil // as it should be
	default:
		code, failed = errIO, fmt.Errorf("%w: %w", errMedium, failed)
	}
	_, err = out.Write(simpleReply(r.handle, code))
	if err == nil && code == 0 && r.kind == cmdRead {
		_, err = out.Write(data)
	}
	if err == nil {
		err = out.Flush()
	}
	if code == errIO {
		return errors.Join(failed, err)
	}
	return err
}

// do does what a command asks for.
func do(d *Disk, r request, data []byte) (err error) {
	if d.broken.Load() && r.kind != cmdTrim {
		return ErrBroken
	}
	switch r.kind {
	case cmdRead:
		_, err = d.ReadAt(data, r.at)
	case cmdWrite:
		_, err = d.WriteAt(data, r.at)
	case cmdWriteZeroes:
		err = d.ZeroAt(r.at, r.length)
	case cmdFlush:
		return d.Flush()
	case cmdTrim:
		return nil // a hint, of which nothing has to come
	default:
		return fmt.Errorf("command %d: %w", r.kind, ErrRange)
	}
	if err == nil && r.flags&flagFUA != 0 && r.kind != cmdRead {
		err = d.Persist(r.at, r.length)
	}
	return err
}
