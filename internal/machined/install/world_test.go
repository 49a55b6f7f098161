package install

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"testing/fstest"
	"time"

	"github.com/containerd/go-dmverity/pkg/verity"
	"github.com/diskfs/go-diskfs/filesystem/fat32"
	"github.com/siderolabs/go-blockdevice/v2/partitioning/gpt"

	"github.com/cyvive/cyvive/internal/machined/configstore"
	"github.com/cyvive/cyvive/internal/storage/blockdev"
)

// testSizes are of a node in miniature.
func testSizes() Sizes {
	return Sizes{ESP: 10 * mib, Root: mib, Verity: mib, State: 4 * mib, Data: 4 * mib}
}

const testDiskBytes = 30 * mib

// fakeSource is a release in memory.
type fakeSource struct {
	release    Release
	root, tree []byte
	kernel     []byte
	files      fs.FS
	rootErr    error
	bootErr    error
}

func (s *fakeSource) Release(context.Context) (Release, error) { return s.release, nil }

func (s *fakeSource) Root(context.Context) (io.ReadCloser, error) {
	return io.NopCloser(bytes.NewReader(s.root)), s.rootErr
}

func (s *fakeSource) Verity(context.Context) (io.ReadCloser, error) {
	return io.NopCloser(bytes.NewReader(s.tree)), nil
}

func (s *fakeSource) Boot(_ context.Context, use func(Boot) error) error {
	if s.bootErr != nil {
		return s.bootErr
	}
	return use(Boot{Files: s.files, Kernel: bytes.NewReader(s.kernel)})
}

const rootBlocks = 150 // two levels of hashes

// newSource makes a release whose tree another program's library makes.
func newSource(t testing.TB) *fakeSource {
	t.Helper()
	root := make([]byte, rootBlocks*blockBytes)
	for i := range root {
		root[i] = byte(i * i >> 9)
	}
	hash, tree := makeTree(t, root)
	s := &fakeSource{
		release: Release{Version: "1.2.3", Architecture: "amd64", RootHash: hash},
		root:    append(root, make([]byte, 5*blockBytes)...), // the partition is longer
		tree:    tree,
		kernel:  image("roothash=" + hash + " quiet"),
		files: fstest.MapFS{
			"EFI/BOOT/BOOTX64.EFI":            {Data: bytes.Repeat([]byte("loader"), 200)},
			"EFI/systemd/systemd-bootx64.efi": {Data: bytes.Repeat([]byte("loader"), 200)},
			"EFI/cyvive/b.efi":                {Data: []byte("the running one")},
			"loader/loader.conf":              {Data: []byte("timeout menu-disabled\n")},
			"loader/entries/cyvive-b+2.conf":  {Data: []byte("title x\n")},
			"loader/keys/auto/db.auth":        {Data: []byte("signed")},
			"loader/random-seed":              {Data: []byte("secret")},
		},
	}
	s.release.KernelBytes = int64(len(s.kernel))
	return s
}

// makeTree hashes a root.
func makeTree(t testing.TB, root []byte) (hash string, tree []byte) {
	t.Helper()
	dir := t.TempDir()
	data, out := filepath.Join(dir, "data"), filepath.Join(dir, "tree")
	if err := errors.Join(os.WriteFile(data, root, 0o600), os.WriteFile(out, nil, 0o600), os.Truncate(out, mib)); err != nil {
		t.Fatal(err)
	}
	p := verity.DefaultParams()
	p.DataBlockSize, p.HashBlockSize, p.DataBlocks = blockBytes, blockBytes, uint64(len(root)/blockBytes)
	p.Salt, p.SaltSize = bytes.Repeat([]byte("s"), 32), 32
	p.UUID, p.HashAreaOffset = [16]byte{1, 2}, blockBytes
	sum, err := verity.Create(&p, data, out)
	if err != nil {
		t.Fatal(err)
	}
	tree, err = os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	return hex.EncodeToString(sum), tree
}

// image is a PE file with a command line and some code.
func image(line string) []byte {
	const dos, coff, section = 64, 24, 40
	b := make([]byte, dos+coff+section+20_000)
	le := binary.LittleEndian
	copy(b, "MZ")
	le.PutUint32(b[0x3C:], dos)
	h := b[dos:]
	copy(h, "PE\x00\x00")
	le.PutUint16(h[4:], 0x8664)
	le.PutUint16(h[6:], 1)
	s := h[coff:]
	copy(s, ".cmdline")
	le.PutUint32(s[8:], uint32(len(line)))
	le.PutUint32(s[16:], 512)
	le.PutUint32(s[20:], dos+coff+section)
	copy(s[section:], line)
	for i := dos + coff + section + 512; i < len(b); i++ {
		b[i] = byte(i >> 3)
	}
	return b
}

// world is a machine with a disk to install on.
type world struct {
	disk   *simDisk
	fact   Disk
	others []Disk
	// opened counts how often the disk was opened for writing.
	opened int
	*lab
	*Installer
}

// lab keeps what takes long and is the same in many worlds.
type lab struct {
	source *fakeSource
	// images are the file systems that were made, by their size and configuration; sound are those that were looked at.
	images map[string][]byte
	sound  map[[32]byte]bool
}

func newLab(t testing.TB) *lab {
	return &lab{source: newSource(t), images: map[string][]byte{}, sound: map[[32]byte]bool{}}
}

// makeFileSystem runs the program for a configuration once.
func (l *lab) makeFileSystem(t testing.TB) func(ctx context.Context, image, label, from string) error {
	disk := blockdev.New(blockdev.Tools{Mke2fs: program(t, "mke2fs")}, "")
	return func(ctx context.Context, image, label, from string) error {
		configuration, err := os.ReadFile(filepath.Join(from, "config", "revision-00000001"))
		if err != nil {
			return err
		}
		info, err := os.Stat(image)
		if err != nil {
			return err
		}
		name := fmt.Sprintf("%d %s", info.Size(), configuration)
		if l.images[name] == nil {
			if err := disk.MakeImage(ctx, image, label, from); err != nil {
				return err
			}
			l.images[name], err = os.ReadFile(image)
			return err
		}
		return os.WriteFile(image, l.images[name], 0o600)
	}
}

func newWorld(t testing.TB, disk *simDisk) *world { return newLab(t).world(t, disk) }

func (l *lab) world(t testing.TB, disk *simDisk) *world {
	t.Helper()
	w := &world{disk: disk, lab: l, fact: Disk{
		Name: "vdb", Type: SSD, Model: "Test Disk", Serial: "S-1", WWN: "naa.5001", Bus: "virtio", SizeBytes: disk.size, SectorBytes: 512,
	}}
	w.Installer = New(Config{
		Log: slog.New(slog.DiscardHandler), Now: func() time.Time { return time.Unix(1_700_000_000, 0) },
		Disks: func(context.Context) ([]Disk, error) {
			d := w.fact
			if err := Look(w.disk, &d); err != nil {
				d.Problem = err.Error()
			}
			return append([]Disk{{Name: "vda", SizeBytes: 10e9, SectorBytes: 512, Serial: "S-0", System: true}, d}, w.others...), nil
		},
		Open:  func(Disk) (Device, error) { w.opened++; return w.disk, nil },
		Sizes: testSizes(), Work: filepath.Join(t.TempDir(), "work"),
		MakeFileSystem: l.makeFileSystem(t),
	})
	return w
}

// program finds one of the tools of ext4.
func program(t testing.TB, name string) string {
	t.Helper()
	for _, dir := range []string{"/usr/sbin", "/sbin", "/usr/bin"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
			return filepath.Join(dir, name)
		}
	}
	t.Fatalf("%s is not there, which the tests of storage need", name)
	return ""
}

func request() Request {
	return Request{Disk: Selector{Serial: "S-1"}, Configuration: []byte("kind: Machine\n"), By: "alice"}
}

// install runs an installation and collects its progress.
func (w *world) install(t testing.TB, req Request) (Plan, []Progress, error) {
	var all []Progress
	p, err := w.Install(t.Context(), req, w.source, func(Plan) error { return nil }, func(p Progress) error {
		all = append(all, p)
		return nil
	})
	return p, all, err
}

// gptDevice is a simDisk for the library by which stage 1 reads partition tables.
type gptDevice struct {
	*simDisk
	io.ReadWriteSeeker
}

func (d gptDevice) GetSectorSize() uint                             { return 512 }
func (d gptDevice) GetSize() uint64                                 { return uint64(d.size) }
func (d gptDevice) GetIOSize() (uint, error)                        { return 512, nil }
func (d gptDevice) GetKernelLastPartitionNum() (int, error)         { return 0, fs.ErrPermission }
func (d gptDevice) KernelPartitionAdd(int, uint64, uint64) error    { return fs.ErrPermission }
func (d gptDevice) KernelPartitionResize(int, uint64, uint64) error { return fs.ErrPermission }
func (d gptDevice) KernelPartitionDelete(int) error                 { return fs.ErrPermission }

// boots goes the way of firmware, boot loader and node: it is nil if the disk starts, and runs the release with the configuration.
func (w *world) boots(t testing.TB, req Request) error {
	t.Helper()
	table, err := gpt.Read(gptDevice{simDisk: w.disk})
	if err != nil {
		return fmt.Errorf("partition table: %w", err)
	}
	parts := map[string]*window{}
	uuids := map[string]string{}
	for _, p := range table.Partitions() {
		if p != nil {
			parts[p.Name] = &window{ctx: t.Context(), dev: w.disk, start: int64(p.FirstLBA) * 512, size: int64(p.LastLBA-p.FirstLBA+1) * 512}
			uuids[p.Name] = hex.EncodeToString(p.PartGUID[:])
		}
	}
	if len(parts) != 7 {
		return fmt.Errorf("partitions %v", uuids)
	}
	if got := uuids["root-a"] + uuids["verity-a"]; got != w.source.release.RootHash {
		return fmt.Errorf("root and tree are named %s", got)
	}
	for _, check := range []func() error{
		func() error { return w.rootIsWhole(parts) },
		func() error { return w.espStarts(parts["esp"]) },
		func() error { return w.stateHas(t, parts["state"], req) },
	} {
		if err := check(); err != nil {
			return err
		}
	}
	for _, name := range []string{"root-b", "verity-b", "data"} {
		head := make([]byte, mib)
		if _, err := parts[name].ReadAt(head, 0); err != nil || !zeros(head) {
			return fmt.Errorf("%s is not blank: %v", name, err)
		}
	}
	return nil
}

func (w *world) rootIsWhole(parts map[string]*window) error {
	tree, err := readTree(parts["verity-a"], w.source.release.RootHash, mib)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, &checked{from: parts["root-a"], tree: &tree})
	return err
}

// readAligned reads in pieces that begin where clusters do: from within one, the library reads on to its end.
func readAligned(in io.Reader) ([]byte, error) {
	var out []byte
	b := make([]byte, 64<<10)
	for {
		n, err := io.ReadFull(in, b)
		out = append(out, b[:n]...)
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
	}
}

func (w *world) espStarts(p *window) error {
	f, err := fat32.Read(storage{p}, p.size, 0, 512)
	if err != nil {
		return err
	}
	for name, want := range map[string]string{
		"/EFI/BOOT/BOOTX64.EFI":            string(bytes.Repeat([]byte("loader"), 200)),
		"/EFI/systemd/systemd-bootx64.efi": string(bytes.Repeat([]byte("loader"), 200)),
		"/EFI/cyvive/a.efi":                string(w.source.kernel),
		"/loader/loader.conf":              "timeout menu-disabled\n",
		"/loader/keys/auto/db.auth":        "signed",
		"/loader/entries/cyvive-a.conf":    "title Cyvive 1.2.3\nsort-key cyvive\nversion 1\nefi /EFI/cyvive/a.efi\n",
	} {
		in, err := f.OpenFile(name, os.O_RDONLY)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		got, err := readAligned(in)
		if err != nil || string(got) != want {
			return fmt.Errorf("%s has %d bytes that differ from the %d wanted: %v", name, len(got), len(want), err)
		}
	}
	for _, dir := range []string{"EFI/cyvive", "loader/entries", "loader"} {
		list, err := f.ReadDir(dir)
		if err != nil {
			return err
		}
		for _, e := range list {
			switch e.Name() {
			case ".", "..", "a.efi", "cyvive-a.conf", "loader.conf", "entries", "keys":
			default:
				return fmt.Errorf("%s has %q", dir, e.Name())
			}
		}
	}
	return nil
}

// fakeSealer stands for what encrypts: every byte is another one.
type fakeSealer struct {
	refuse error
	// to is what it seals to; empty is the TPM.
	to string
	// asked is the kernel image that it was asked about last.
	asked []byte
}

const (
	fakeHeaderBytes = mib / 2
	fakeHeader      = "sealed to the TPM of this machine"
)

// header is what it puts before the content.
func (s *fakeSealer) header() string { return cmp.Or(s.to, fakeHeader) }

func (s *fakeSealer) WouldOpen(image io.ReaderAt) (err error) {
	s.asked, err = io.ReadAll(io.NewSectionReader(image, 0, 1<<30))
	return errors.Join(err, s.refuse)
}

func (s *fakeSealer) Enclose(_ context.Context, path string, content io.Reader) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	data, err := io.ReadAll(content)
	if err != nil || int64(len(data))+fakeHeaderBytes != info.Size() {
		return fmt.Errorf("%d bytes for a volume of %d: %w", len(data), info.Size(), err)
	}
	out := append([]byte(s.header()), make([]byte, fakeHeaderBytes-len(s.header()))...)
	return os.WriteFile(path, append(out, s.flipped(data)...), 0o600)
}

// opened is what one that seals to the same has enclosed.
func (s *fakeSealer) opened(volume []byte) ([]byte, error) {
	if !bytes.HasPrefix(volume, []byte(s.header())) {
		return nil, fmt.Errorf("the state volume does not open: it begins with %.40q, and not with %q", volume, s.header())
	}
	return s.flipped(volume[fakeHeaderBytes:]), nil
}

// flipped is data with some bits of every byte the other ones. The race detector does not look at each byte of it.
func (s *fakeSealer) flipped(data []byte) []byte {
	out := bytes.Repeat([]byte{s.header()[0]}, len(data))
	subtle.XORBytes(out, out, data)
	return out
}

// sealing gives a world a TPM.
func (w *world) sealing(s *fakeSealer) *world {
	w.cfg.Sealer, w.cfg.HeaderBytes = s, fakeHeaderBytes
	return w
}

// stateHas reads the file system with the programs of ext4, and the configuration as the node does.
func (w *world) stateHas(t testing.TB, p *window, req Request) (err error) {
	dir := t.TempDir()
	image, out := filepath.Join(dir, "image"), filepath.Join(dir, "out")
	data := make([]byte, p.size)
	if _, err := p.ReadAt(data, 0); err != nil {
		return err
	}
	switch {
	case req.Configuration == nil && !zeros(data):
		return errors.New("the state volume of a node without a configuration is not blank")
	case req.Configuration == nil:
		return nil
	case req.Encrypted:
		if data, err = w.cfg.Sealer.(*fakeSealer).opened(data); err != nil {
			return err
		}
	}
	sum := sha256.Sum256(append(data, req.Configuration...))
	if w.sound[sum] {
		return nil
	}
	defer func() { w.sound[sum] = err == nil }()
	if err := errors.Join(os.WriteFile(image, data, 0o600), os.Mkdir(out, 0o700)); err != nil {
		return err
	}
	if text, err := exec.Command(program(t, "e2fsck"), "-n", "-f", image).CombinedOutput(); err != nil {
		return fmt.Errorf("e2fsck: %w: %s", err, text)
	}
	contents, err := blockdev.New(blockdev.Tools{}, dir).Contents(t.Context(), image)
	if err != nil || contents.Signature != "ext4" || !contents.Clean || contents.Formatting {
		return fmt.Errorf("the state volume holds %+v: %v", contents, err)
	}
	if text, err := exec.Command(program(t, "debugfs"), "-R", "rdump / "+out, image).CombinedOutput(); err != nil {
		return fmt.Errorf("debugfs: %w: %s", err, text)
	}
	store, err := configstore.Open(configstore.OSDir(filepath.Join(out, "config")), configstore.Config{
		Now: time.Now, Boot: "first", SinceBoot: func() time.Duration { return 0 },
	})
	if err != nil {
		return err
	}
	now, err := store.Current()
	switch {
	case err != nil || len(store.Problems()) > 0:
		return fmt.Errorf("configuration: %v, %w", store.Problems(), err)
	case now == nil || !bytes.Equal(now.Document, req.Configuration) || now.By != req.By || !store.Record().Owned:
		return fmt.Errorf("configuration %+v, record %+v", now, store.Record())
	}
	return nil
}
