package peer_test

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cyvive/cyvive/internal/machined/boot/kmod"
	"github.com/cyvive/cyvive/internal/machined/peer"
	"github.com/cyvive/cyvive/internal/machined/server"
	"github.com/cyvive/cyvive/internal/machined/server/servertest"
	"github.com/cyvive/cyvive/internal/pki"
	"github.com/cyvive/cyvive/internal/storage/replication"
	"github.com/cyvive/cyvive/internal/storage/replication/endpoint"
	"github.com/cyvive/cyvive/internal/storage/zfs"
	"github.com/cyvive/cyvive/internal/storage/zfs/command"
)

const (
	vmDir       = "/peerpools"
	vmPoolBytes = 256 << 20
	vmFileBytes = 32 << 20
)

// long says whether the long forms of tests are asked for, with LONG=1: the processor of the machine encrypts and decrypts all that is sent.
func long() bool { return os.Getenv("LONG") == "1" }

// longOnly skips a test in a machine of the test runner unless the long forms are asked for.
func longOnly(t *testing.T) {
	t.Helper()
	if os.Getenv("CYVIVE_VM") == "1" && !long() {
		t.Skipf("takes long: make soak runs it, and so does LONG=1 make vm-test RUN='^%s$'", t.Name())
	}
}

// vmSystem loads OpenZFS and makes the pools alpha and beta, in files in memory, which take what is written to them.
func vmSystem(t *testing.T, alphaBytes, betaBytes int64) zfs.System {
	t.Helper()
	switch {
	case os.Getenv("CYVIVE_VM") == "1":
	case os.Getenv("REQUIRE_VM") == "1":
		t.Fatal("REQUIRE_VM=1, but this is no virtual machine of the test runner")
	default:
		t.Skip("needs the VM test runner: it loads OpenZFS and makes pools")
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	mods, err := kmod.Open("/usr/lib/modules")
	must(err)
	must(mods.Load("zfs"))
	// The least that it keeps first: that is a 32nd of the memory, and a limit below it is not taken, without an error (arc_tuning_update in module/zfs/arc.c).
	must(os.WriteFile("/sys/module/zfs/parameters/zfs_arc_min", []byte("33554432"), 0))
	must(os.WriteFile("/sys/module/zfs/parameters/zfs_arc_max", []byte("134217728"), 0))
	must(os.MkdirAll(vmDir, 0o700))
	for pool, poolBytes := range map[string]int64{"alpha": alphaBytes, "beta": betaBytes} {
		file := filepath.Join(vmDir, pool)
		must(os.WriteFile(file, nil, 0o600))
		must(os.Truncate(file, poolBytes))
		vmZpool(t, "create", "-o", "ashift=12", "-o", "cachefile=none", "-O", "mountpoint=none", "-O", "compression=off", pool, file)
		t.Cleanup(func() {
			vmZpool(t, "destroy", "-f", pool)
			_ = os.Remove(file)
		})
	}
	return command.NewSystem(command.Runner{ZFSPath: "/usr/bin/zfs", ZpoolPath: "/usr/bin/zpool"})
}

func vmZpool(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command("/usr/bin/zpool", args...).CombinedOutput(); err != nil {
		t.Errorf("zpool %v: %v: %s", args, err, out)
	}
}

// vmMounted calls do with a file system or snapshot mounted, whatever its properties say.
func vmMounted(name string, flags uintptr, do func(dir string) error) error {
	dir, err := os.MkdirTemp("", "dataset")
	if err != nil {
		return err
	}
	defer os.Remove(dir)
	if err := unix.Mount(name, dir, "zfs", flags, ""); err != nil {
		return fmt.Errorf("mount %s: %w", name, err)
	}
	return errors.Join(do(dir), unix.Unmount(dir, 0))
}

// vmSums reads the file of a snapshot.
type vmSums struct{}

// Sum implements endpoint.Summer.
func (vmSums) Sum(_ context.Context, name string) (sum []byte, err error) {
	err = vmMounted(name, unix.MS_RDONLY, func(dir string) error {
		f, err := os.Open(filepath.Join(dir, "file"))
		if err != nil {
			return err
		}
		defer f.Close()
		h := sha256.New()
		_, err = io.Copy(h, f)
		sum = h.Sum(nil)
		return err
	})
	return sum, err
}

// vmPair is a job from alpha to beta, of which one side is behind a connection.
type vmPair struct {
	t      *testing.T
	system zfs.System
	local  *endpoint.Local
	remote *peer.Remote
	job    replication.Job
	pull   bool
	bytes  int
	// fileBytes is the size of the file that write writes.
	fileBytes int64
}

// newVMPair makes the source. Checksum has the contents of each snapshot compared, too.
func newVMPair(t *testing.T, system zfs.System, pull, checksum bool) *vmPair {
	t.Helper()
	direction := replication.Push
	if pull {
		direction = replication.Pull
	}
	job := replication.Job{
		ID: jobID, Direction: direction, Roots: []replication.Root{{Source: "alpha/" + string(direction), Target: "beta/in/alpha/" + string(direction)}},
		Initial: replication.All, InitialGuarantee: replication.Resumable, Guarantee: replication.Resumable, Stream: replication.Stream{Large: true}, Checksum: checksum,
	}
	p := &vmPair{t: t, system: system, local: endpoint.New(system, vmSums{}).Under("beta/in"), job: job, pull: pull, fileBytes: vmFileBytes}
	ours, theirs := servertest.Authority(t, "ours"), servertest.Authority(t, "theirs")
	guard := peer.NewGuard(t.Context(), system, vmSums{}, func(id string) (peer.Allowed, bool) {
		return peer.Allowed{Name: "job", Job: job, Sends: pull, Works: true, Tops: []string{"beta/in"}}, id == jobID
	}, func(string) {})
	api := servertest.StartPeer(t, theirs, nil, func() []server.Peer {
		return []server.Peer{{Job: jobID, Identity: "here.example", Authority: ours.Pool()}}
	}, guard)
	pair, err := ours.Issue(pki.Request{
		CommonName: "here", DNSNames: []string{"here.example"}, Organizations: []string{"node:peer"}, Client: true, Server: true, Lifetime: time.Hour,
	}, time.Now())
	p.must(err)
	cert, err := pair.TLS()
	p.must(err)
	conn, err := peer.Connect(peer.Target{Address: api.Address, Identity: "localhost", Authority: theirs.Pool(), Certificate: func() *tls.Certificate { return &cert }})
	p.must(err)
	t.Cleanup(func() { _ = conn.Close() })
	p.remote = peer.NewRemote(conn)
	p.must(system.Create(t.Context(), job.Roots[0].Source, zfs.CreateOptions{Properties: map[string]string{"mountpoint": "none"}}))
	return p
}

func (p *vmPair) must(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
}

// write writes a file that does not compress, no two pieces of which are the same, and takes a snapshot.
func (p *vmPair) write(snapshot string) {
	p.t.Helper()
	source := p.job.Roots[0].Source
	piece := make([]byte, 1<<20)
	_, err := rand.Read(piece)
	p.must(err)
	p.must(vmMounted(source, 0, func(dir string) error {
		f, err := os.Create(filepath.Join(dir, "file"))
		if err != nil {
			return err
		}
		for left := p.fileBytes; left > 0 && err == nil; left -= int64(len(piece)) {
			binary.LittleEndian.PutUint64(piece, uint64(left))
			_, err = f.Write(piece)
		}
		return errors.Join(err, f.Sync(), f.Close())
	}))
	p.must(p.system.Snapshot(p.t.Context(), []string{source + "@" + snapshot}, nil))
}

func (p *vmPair) run(ctx context.Context, count func(int)) error {
	r := replication.Runner{Job: p.job, Sender: p.local, Receiver: p.remote, Count: func(_ string, n int) {
		p.bytes += n
		count(n)
	}}
	if p.pull {
		r.Sender, r.Receiver = p.remote, p.local
	}
	p.remote.Begins()
	report, err := r.Run(ctx)
	return errors.Join(err, report.Err())
}

func (p *vmPair) same(snapshot string) {
	p.t.Helper()
	mine, err := vmSums{}.Sum(p.t.Context(), p.job.Roots[0].Source+"@"+snapshot)
	p.must(err)
	theirs, err := vmSums{}.Sum(p.t.Context(), p.job.Roots[0].Target+"@"+snapshot)
	p.must(err)
	if string(mine) != string(theirs) {
		p.t.Errorf("@%s differs", snapshot)
	}
	found, err := p.system.List(p.t.Context(), zfs.Query{
		Roots: []string{"beta/in"}, Kinds: []zfs.Kind{zfs.Filesystem}, Depth: -1, Properties: []string{"mounted", "canmount", "readonly", "mountpoint"},
	})
	p.must(err)
	for _, d := range found {
		if v := d.Properties; v["mounted"].Value != "no" || v["canmount"].Value != "off" || v["readonly"].Value != "on" || v["mountpoint"].Value != "none" {
			p.t.Errorf("%s: %+v", d.Name, v)
		}
	}
}

// TestVMOverTheAPI replicates between two pools of real OpenZFS over a connection with certificates on both ends: all of it, what changed, and on
// from where a stream was cut; the other way with LONG=1. How fast that is, TestVMFigures says.
func TestVMOverTheAPI(t *testing.T) {
	system := vmSystem(t, vmPoolBytes, vmPoolBytes)
	ways := []bool{false}
	if long() {
		ways = append(ways, true)
	}
	for _, pull := range ways {
		p := newVMPair(t, system, pull, true)
		t.Run(string(p.job.Direction), func(t *testing.T) {
			p.t = t
			p.write("1")
			p.must(p.run(t.Context(), func(int) {}))
			p.same("1")
			p.write("2")
			whole := p.bytes
			p.bytes = 0
			ctx, cut := context.WithCancel(t.Context())
			if err := p.run(ctx, func(int) {
				if p.bytes > whole/2 {
					cut()
				}
			}); err == nil {
				t.Fatal("a run that was cut went well")
			}
			sent := p.bytes
			p.bytes = 0
			p.must(p.run(t.Context(), func(int) {}))
			p.same("2")
			// What was on its way when it was cut comes again: pipes, windows and what was not synced of a transaction group.
			if again := p.bytes; sent < whole/3 || again > whole-whole/8 {
				t.Errorf("after a cut at %d of %d bytes, %d were sent", sent, whole, again)
			}
			t.Logf("cut at %d of %d bytes, gone on with %d", sent, whole, p.bytes)
		})
	}
}
