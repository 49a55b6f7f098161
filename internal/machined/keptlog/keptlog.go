package keptlog

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"

	"github.com/cyvive/cyvive/internal/machined/server"
	"github.com/cyvive/cyvive/internal/machined/server/ringlog"
	"github.com/cyvive/cyvive/internal/machined/supervise/logring"
)

const (
	// fileBytes bounds each of the two files of a log, passBytes what one pass takes of it.
	fileBytes = 512 << 10
	passBytes = 256 << 10
	// reserveBytes is what logs leave to others of the room that their dataset has.
	reserveBytes = 64 << 20
	// maxNameBytes is more than the name of any service has.
	maxNameBytes = 64
	// endMark is the file that says that a boot went down in order.
	endMark = "ended"
	// gap stands in a log where something is missing.
	gap = "[lines are missing here: more was written than is kept, or the log began anew]\n"
)

// ErrNoRoom is that there is less room than the logs leave to others.
var ErrNoRoom = errors.New("less than 64 MiB are left for logs on the data volume")

// Ring is a folder of rings, and of how many of them a log is kept at most. Its Prefix is empty, or the name of a folder and a slash.
type Ring struct {
	ringlog.Source
	MaxLogs int
}

// Kernel reads what is new in the kernel's log. Package server/kmsg implements it. It is used by one goroutine at a time.
type Kernel interface {
	// Since returns the records from number next on as lines, oldest first, and the number after the last of them; 0 is the kernel's first of a boot. If they are
	// more than maxBytes, they are the newest, and lines say where records are missing. It does not wait for any.
	Since(next uint64, maxBytes int) (lines []byte, after uint64, err error)
}

// Config is where a store finds and puts things.
type Config struct {
	// Dir is the folder on the data volume, which is made when it is not there.
	Dir string
	// Places is a file that lasts as long as the rings: it says how far they were copied.
	Places string
	// Boot is the ID of the running boot.
	Boot  string
	Rings []Ring
	// Kernel is kept as a log of the name [server.KernelLog], which counts among those of the rings without a prefix. It may be nil.
	Kernel Kernel
	// Free is how many bytes can still be written in a folder, by anybody; nil asks the kernel.
	Free func(dir string) (uint64, error)
}

// Store keeps logs. Its methods may be called concurrently. It implements [server.PastLogs].
type Store struct {
	cfg Config

	// mu is held for as long as a pass takes.
	mu sync.Mutex
	// looked says that it is known of which boots there are logs, and begun that Begin was successful. Before is the boot before the running one, past the one of
	// which logs are kept; each is empty if there is none.
	looked, begun bool
	before, past  string
	// places are how far rings and the kernel's log were copied, by the names of logs, and saved is what of it is in the file.
	places, saved map[string]place
	// kept are the names of the running boot's logs, by the ring's prefix.
	kept map[string][]string
	// whole are the logs that are known to end with the end of a line.
	whole map[string]bool
}

// place is how far a log was copied: to a position in its ring, or, of the kernel's, to before the record of a number.
type place struct {
	ringlog.Position
	Record uint64 `json:"record,omitempty"`
}

var _ server.PastLogs = (*Store)(nil)

// New returns a store that does nothing before Begin.
func New(cfg Config) *Store {
	if cfg.Free == nil {
		cfg.Free = free
	}
	return &Store{cfg: cfg}
}

// free asks the kernel, for who is not root. Of a dataset of ZFS that is what its quota or the pool leaves, whichever is less (zfs_statvfs of OpenZFS 2.3).
func free(dir string) (uint64, error) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		return 0, &fs.PathError{Op: "statfs", Path: dir, Err: err}
	}
	return s.Bavail * uint64(s.Bsize), nil
}

// Begin makes the folder of the running boot and removes those of all others but one: the first of the boots before, which are given the newest first, that has a
// folder. It can be called again after an error, and by the next agent of the boot.
func (s *Store) Begin(before []string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.begun {
		return nil
	}
	if err := os.MkdirAll(s.cfg.Dir, 0o700); err != nil {
		return fmt.Errorf("make the folder of logs: %w", err)
	}
	entries, err := os.ReadDir(s.cfg.Dir)
	if err != nil {
		return fmt.Errorf("list the logs of boots: %w", err)
	}
	past := ""
	for _, id := range before {
		if id != "" && id != s.cfg.Boot && slices.ContainsFunc(entries, func(e fs.DirEntry) bool { return e.IsDir() && e.Name() == id }) {
			past = id
			break
		}
	}
	// What the boot before left can be read on a volume that takes nothing more.
	s.looked, s.past, s.before = true, past, ""
	if len(before) > 0 {
		s.before = before[0]
	}
	for _, e := range entries {
		if e.Name() != s.cfg.Boot && e.Name() != past {
			if err := os.RemoveAll(filepath.Join(s.cfg.Dir, e.Name())); err != nil {
				return fmt.Errorf("remove the logs of an old boot: %w", err)
			}
		}
	}
	kept := map[string][]string{}
	for _, r := range s.cfg.Rings {
		dir := filepath.Join(s.cfg.Dir, s.cfg.Boot, r.Prefix)
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("make the folder of this boot's logs: %w", err)
		}
		if kept[r.Prefix], err = (ringlog.Source{Dir: dir}).Names(); err != nil {
			return err
		}
	}
	if err := os.Remove(s.mark(s.cfg.Boot)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("begin the logs of this boot: %w", err)
	}
	if s.places, err = readPlaces(s.cfg.Places); err != nil {
		return err
	}
	s.saved, s.kept, s.whole = maps.Clone(s.places), kept, map[string]bool{}
	s.begun = true
	return nil
}

// Keep copies what is new in the rings and in the kernel's log. It does all that it can in spite of an error. Before Begin it does nothing.
func (s *Store) Keep() error { return s.keep(false) }

// End is the last Keep of an agent. With inOrder services have ended, and so has the boot: the last line of a ring counts whether it has ended or not, and nothing is
// missing in the log.
func (s *Store) End(inOrder bool) error {
	if err := s.keep(inOrder); err != nil || !inOrder {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.begun {
		return nil
	}
	if err := os.WriteFile(s.mark(s.cfg.Boot), nil, 0o600); err != nil {
		return fmt.Errorf("end the logs of this boot: %w", err)
	}
	return nil
}

// mark is the path of a boot's mark.
func (s *Store) mark(boot string) string { return filepath.Join(s.cfg.Dir, boot, endMark) }

// keep is Keep; unended takes lines that have not ended, too.
func (s *Store) keep(unended bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.begun {
		return nil
	}
	left, err := s.cfg.Free(s.cfg.Dir)
	if err != nil {
		return fmt.Errorf("keep logs: %w", err)
	}
	if left < reserveBytes {
		return fmt.Errorf("keep logs: %w", ErrNoRoom)
	}
	var errs []error
	if s.cfg.Kernel != nil {
		if err := s.copyKernel(); err != nil {
			errs = append(errs, fmt.Errorf("keep the kernel's log: %w", err))
		}
	}
	for _, r := range s.cfg.Rings {
		names, err := r.Names()
		if err != nil {
			errs = append(errs, err)
		}
		for _, name := range names {
			if !isName(name) || r.Prefix+name == server.KernelLog || !slices.Contains(s.kept[r.Prefix], name) && len(s.kept[r.Prefix]) >= r.MaxLogs {
				continue
			}
			if err := s.copy(r, name, unended); err != nil {
				errs = append(errs, fmt.Errorf("keep log %s: %w", r.Prefix+name, err))
			}
		}
	}
	return errors.Join(append(errs, s.savePlaces())...)
}

// isName tells whether a ring has the name of a service. The plane's are given by whoever is root in it.
func isName(name string) bool {
	const letters = "abcdefghijklmnopqrstuvwxyz0123456789-_."
	return name != "" && len(name) <= maxNameBytes && name[0] != '.' && strings.Trim(name, letters) == ""
}

// copy takes what is new in one ring.
func (s *Store) copy(r Ring, name string, unended bool) error {
	log := r.Prefix + name
	data, next, missing, err := r.Since(name, s.places[log].Position, passBytes, unended)
	if err != nil || len(data) == 0 && !missing {
		return err
	}
	if missing {
		data = append([]byte(gap), data...)
	}
	return s.write(r.Prefix, name, data, place{Position: next})
}

// copyKernel takes what is new in the kernel's log. In a boot's first pass that is all since its start, and all that one file holds.
func (s *Store) copyKernel() error {
	from, limit := s.places[server.KernelLog].Record, passBytes
	if from == 0 {
		limit = fileBytes
	}
	data, after, err := s.cfg.Kernel.Since(from, limit)
	if err != nil || len(data) == 0 {
		return err
	}
	return s.write("", server.KernelLog, data, place{Record: after})
}

// write adds to a log of this boot, and notes how far that came.
func (s *Store) write(prefix, name string, data []byte, next place) error {
	log, path := prefix+name, filepath.Join(s.cfg.Dir, s.cfg.Boot, prefix, name+".log")
	if !s.whole[log] {
		whole, err := endsWhole(path)
		if err != nil {
			return err
		}
		if !whole {
			data = append([]byte{'\n'}, data...) // an agent was killed in a write
		}
	}
	delete(s.whole, log)
	w, err := logring.Open(path, fileBytes)
	if err != nil {
		return err
	}
	if !slices.Contains(s.kept[prefix], name) {
		s.kept[prefix] = append(s.kept[prefix], name)
	}
	if _, err := w.Write(data); err != nil {
		return errors.Join(err, w.Close())
	}
	s.places[log], s.whole[log] = next, bytes.HasSuffix(data, []byte("\n"))
	return errors.Join(w.Flush(), w.Close())
}

// endsWhole tells whether a file ends with the end of a line; one that is empty or not there does.
func endsWhole(path string) (bool, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || info.Size() == 0 {
		return true, err
	}
	var last [1]byte
	if _, err := f.ReadAt(last[:], info.Size()-1); err != nil {
		return false, err
	}
	return last[0] == '\n', nil
}

// readPlaces reads the file; what cannot be read is as if it were not there: then the rings are copied from their beginnings.
func readPlaces(path string) (map[string]place, error) {
	places := map[string]place{}
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return places, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read how far logs were kept: %w", err)
	}
	if err := json.Unmarshal(data, &places); err != nil || places == nil {
		return map[string]place{}, nil
	}
	return places, nil
}

// savePlaces replaces the file if there is a change.
func (s *Store) savePlaces() error {
	if maps.Equal(s.places, s.saved) {
		return nil
	}
	data, err := json.Marshal(s.places)
	if err == nil {
		err = os.WriteFile(s.cfg.Places+".new", data, 0o600)
	}
	if err == nil {
		err = os.Rename(s.cfg.Places+".new", s.cfg.Places)
	}
	if err != nil {
		return fmt.Errorf("note how far logs were kept: %w", err)
	}
	s.saved = maps.Clone(s.places)
	return nil
}

// PastServices implements server.PastLogs.
func (s *Store) PastServices(context.Context) ([]string, error) {
	past, _, err := s.look()
	if err != nil {
		return nil, err
	}
	return s.reader(past).Names()
}

// PastLog implements server.PastLogs.
func (s *Store) PastLog(ctx context.Context, service string, tail int, lacks func(string), send func([]byte) error) error {
	past, before, err := s.look()
	if err != nil {
		return err
	}
	var what []string
	if past != before {
		what = append(what, fmt.Sprintf("the boot before has kept no logs of services, and these are of boot %s", past))
	}
	switch _, err := os.Lstat(s.mark(past)); {
	case errors.Is(err, fs.ErrNotExist):
		what = append(what, fmt.Sprintf("the logs of boot %s were not ended in order: what was written in its last seconds may be missing", past))
	case err != nil:
		return fmt.Errorf("read the logs of boot %s: %w", past, err)
	}
	if len(what) > 0 {
		lacks(strings.Join(what, "; "))
	}
	if service == server.KernelLog {
		return s.pastKernel(ctx, past, tail, send)
	}
	return s.reader(past).Stream(ctx, service, server.StreamOptions{Tail: tail}, send)
}

// pastKernel is PastLog of the kernel. A log of the plane that has its name is not taken for it.
func (s *Store) pastKernel(ctx context.Context, boot string, tail int, send func([]byte) error) error {
	reader := ringlog.New(ringlog.Source{Dir: filepath.Join(s.cfg.Dir, boot)})
	err := reader.Stream(ctx, server.KernelLog, server.StreamOptions{Tail: tail}, send)
	if errors.Is(err, server.ErrNotFound) {
		return fmt.Errorf("the kernel's log of boot %s: %w: its logs are kept, and that is not among them: its release keeps none, or the node could not read it", boot, server.ErrNotFound)
	}
	return err
}

// look returns the boot of which there are logs, and the one before the running one.
func (s *Store) look() (past, before string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case !s.looked:
		return "", "", fmt.Errorf("look for the logs of the boot before: %w: they are on the data volume, which is not in use yet", server.ErrUnavailable)
	case s.past == "" && s.before == "":
		return "", "", fmt.Errorf("logs of the boot before: %w: the node knows of no boot before this one that kept any", server.ErrNotFound)
	case s.past == "":
		return "", "", fmt.Errorf("logs of the boot before: %w: boot %s kept none, and neither did one before it: its data volume was not in use or was wiped since, or its release keeps none", server.ErrNotFound, s.before)
	}
	return s.past, s.before, nil
}

// reader reads the logs of a boot.
func (s *Store) reader(boot string) *ringlog.Reader {
	var sources []ringlog.Source
	for _, r := range s.cfg.Rings {
		sources = append(sources, ringlog.Source{Dir: filepath.Join(s.cfg.Dir, boot, r.Prefix), Prefix: r.Prefix})
	}
	return ringlog.New(sources...)
}
