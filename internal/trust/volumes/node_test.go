package volumes

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-tpm/tpm2/transport"
	"github.com/vishvananda/netlink"

	"github.com/cyvive/cyvive/internal/storage"
	"github.com/cyvive/cyvive/internal/storage/blockdev"
	"github.com/cyvive/cyvive/internal/storage/luks"
	"github.com/cyvive/cyvive/internal/trust/kms"
	"github.com/cyvive/cyvive/internal/trust/kmstest"
	"github.com/cyvive/cyvive/internal/trust/pcr"
	"github.com/cyvive/cyvive/internal/trust/tpm"
	"github.com/cyvive/cyvive/internal/trust/tpmtest"
)

// sealedToTPM is how volumes of most tests are made.
var sealedToTPM = storage.Encryption{Mode: storage.TPM}

// thisMachine and otherMachine are UUIDs of firmware.
const (
	thisMachine  = "0a1b2c3d-1111-2222-3333-444455556666"
	otherMachine = "0a1b2c3d-9999-2222-3333-444455556666"
)

// node is a machine with two disks and, as a rule, a TPM. Only the device-mapper is not there: an open volume is a file beside the device, of which cryptsetup
// has said that the key opens it.
type node struct {
	t          *testing.T
	machine    *tpmtest.Machine
	tpm        transport.TPM
	cryptsetup luks.Cryptsetup
	signer     *ecdsa.PrivateKey
	dir        string
	// release is what the machine was started with.
	release string
	// uuid is that of its firmware, and how what it is told of how volumes are encrypted.
	uuid string
	how  storage.Encryption
	// server is the key server of a node that has one.
	server *kmstest.Server
}

func newNode(t *testing.T) *node {
	t.Helper()
	n := newDisks(t)
	n.machine, n.how = tpmtest.New(t), sealedToTPM
	return n
}

// loopbackUp has key servers find an address to listen at: the network namespace of its own, in which root-test runs this, begins without. A test calls it before it
// makes one, as another that runs beside it need not have done so yet.
func loopbackUp(t *testing.T) {
	t.Helper()
	if os.Getenv("REQUIRE_ROOT") != "1" {
		return
	}
	loopback, err := netlink.LinkByName("lo")
	if err == nil {
		err = netlink.LinkSetUp(loopback)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// newDisks is a node without a TPM.
func newDisks(t *testing.T) *node {
	t.Helper()
	n := &node{t: t, dir: t.TempDir(), release: "release 1", uuid: thisMachine}
	for _, path := range []string{"/usr/sbin/cryptsetup", "/usr/bin/cryptsetup", "/sbin/cryptsetup"} {
		if _, err := os.Stat(path); err == nil {
			n.cryptsetup.Program = path
		}
	}
	if n.cryptsetup.Program == "" {
		if os.Getenv("REQUIRE_ROOT") == "1" {
			t.Fatal("cryptsetup is not installed, and REQUIRE_ROOT=1 promised it")
		}
		t.Skip("cryptsetup is not installed (make setup)")
	}
	loopbackUp(t)
	var err error
	if n.signer, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{"mapper", "state", "sys/class/block"} {
		if err := os.MkdirAll(filepath.Join(n.dir, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{storage.State, storage.Data} {
		if err := errors.Join(os.WriteFile(n.device(name), nil, 0o600), os.Truncate(n.device(name), 16<<20)); err != nil {
			t.Fatal(err)
		}
	}
	return n
}

// asked is how often the key server was asked; zero for a node without one.
func (n *node) asked() int {
	if n.server == nil {
		return 0
	}
	return len(n.server.Asked())
}

func (n *node) device(volume string) string { return filepath.Join(n.dir, volume+"-partition") }

// boot starts the machine with a release, and returns the volumes as its agent sees them.
func (n *node) boot(release string) *Volumes {
	n.t.Helper()
	n.release = release
	if n.machine != nil {
		n.tpm = n.machine.Boot()
		tpmtest.Extend(n.t, n.tpm, pcr.SecureBoot, "on")
		tpmtest.Extend(n.t, n.tpm, pcr.Kernel, release)
	}
	for _, gone := range []string{"records", "sys/class/block", "mapper"} {
		if err := errors.Join(os.RemoveAll(filepath.Join(n.dir, gone)), os.MkdirAll(filepath.Join(n.dir, gone), 0o755)); err != nil {
			n.t.Fatal(err)
		}
	}
	return n.agent()
}

// agent is one that was started again in the same boot.
func (n *node) agent() *Volumes {
	return New(Config{
		LUKS: opener{n.cryptsetup, n}, Marks: blockdev.New(blockdev.Tools{}, ""),
		TPM: func() (*tpm.TPM, error) {
			if n.machine == nil {
				return tpm.Open("/nonexistent/tpm")
			}
			return tpm.New(endless{n.tpm}), nil
		},
		Signatures: func() ([]pcr.Signature, error) { return n.signatures("release 1", "release 2"), nil },
		Signers:    []*ecdsa.PublicKey{&n.signer.PublicKey},
		KeyServer:  kms.Client{Timeout: time.Second}, Machine: n.uuid,
		KeyDir: filepath.Join(n.dir, "state/keys"), Records: filepath.Join(n.dir, "records"),
		Mapper: filepath.Join(n.dir, "mapper"), Sysfs: filepath.Join(n.dir, "sys"),
	})
}

// endless is a transport that stays open.
type endless struct{ transport.TPM }

func (endless) Close() error { return nil }

func (n *node) signatures(releases ...string) []pcr.Signature {
	n.t.Helper()
	var list []pcr.Signature
	for _, r := range releases {
		var zero pcr.Digest
		s, err := pcr.Sign(pcr.Values{pcr.Kernel: zero.Extended(sha256.Sum256([]byte(r))), pcr.Config: zero, pcr.Extensions: zero}, n.signer)
		if err != nil {
			n.t.Fatal(err)
		}
		list = append(list, s)
	}
	return list
}

// opener is cryptsetup without the device-mapper.
type opener struct {
	luks.Cryptsetup
	n *node
}

func (o opener) Open(ctx context.Context, device, name string, s luks.Secret) error {
	if _, err := o.Test(ctx, device, s); err != nil {
		return err
	}
	dm := filepath.Join(o.n.dir, "sys/class/block/dm-"+name)
	if err := os.MkdirAll(filepath.Join(dm, "dm"), 0o755); err != nil {
		return luks.ErrBusy
	}
	err := os.MkdirAll(filepath.Join(dm, "slaves", filepath.Base(device)), 0o755)
	for file, text := range map[string]string{"dm/name": name + "\n", "dev": "253:0\n", "size": "24576\n"} {
		err = errors.Join(err, os.WriteFile(filepath.Join(dm, file), []byte(text), 0o644))
	}
	// Noise, as what was on the disk before is once it is decrypted.
	noise := make([]byte, 2<<20)
	_, _ = rand.Read(noise)
	return errors.Join(err, os.WriteFile(filepath.Join(o.n.dir, "mapper", name), noise, 0o600))
}

// OpenDisk is Open where the device says, too, who holds it. The volume is then closed whatever it holds.
func (o opener) OpenDisk(ctx context.Context, device, name string, s luks.Secret) error {
	block := filepath.Join(o.n.dir, "sys/class/block")
	if _, err := os.Lstat(filepath.Join(block, "dm-"+name)); err == nil {
		return luks.ErrBusy
	}
	if err := o.Open(ctx, device, name, s); err != nil {
		return err
	}
	return errors.Join(
		os.MkdirAll(filepath.Join(block, filepath.Base(device), "holders/dm-"+name), 0o755),
		os.WriteFile(filepath.Join(block, "dm-"+name, "disk"), nil, 0o644),
	)
}

// closeDisk closes what OpenDisk has opened; closed is false for another volume.
func (o opener) closeDisk(name string) (closed bool, err error) {
	block := filepath.Join(o.n.dir, "sys/class/block")
	if _, err := os.Lstat(filepath.Join(block, "dm-"+name, "disk")); err != nil {
		return false, nil
	}
	holders, err := filepath.Glob(filepath.Join(block, "*/holders/dm-"+name))
	for _, h := range holders {
		err = errors.Join(err, os.Remove(h))
	}
	return true, errors.Join(err, os.Remove(filepath.Join(o.n.dir, "mapper", name)), os.RemoveAll(filepath.Join(block, "dm-"+name)))
}

func (o opener) Close(_ context.Context, name string) error {
	if closed, err := o.closeDisk(name); closed || err != nil {
		return err
	}
	data, err := os.ReadFile(filepath.Join(o.n.dir, "mapper", name))
	if err != nil || len(bytes.Trim(data[:blankBytes], "\x00")) > 0 || len(bytes.Trim(data[blankBytes:], "\x00")) == 0 {
		o.n.t.Errorf("closed after its beginning was to be made zero, and nothing behind it: %v", err)
	}
	return errors.Join(err, os.Remove(filepath.Join(o.n.dir, "mapper", name)), os.RemoveAll(filepath.Join(o.n.dir, "sys/class/block/dm-"+name)))
}

func (o opener) Extend(_ context.Context, name string, s luks.Secret) error {
	_, err := o.Test(o.n.t.Context(), o.n.device(name[len("cyvive-"):]), s)
	return err
}

// look is the state of a volume.
func (n *node) look(v *Volumes, volume string) storage.CryptState {
	n.t.Helper()
	s, err := v.Volume(n.t.Context(), volume, n.device(volume))
	if err != nil {
		n.t.Fatal(err)
	}
	return s
}

// unlock has a volume opened, or refused for the reason that is returned.
func (n *node) unlock(v *Volumes, volume string) string {
	n.t.Helper()
	if err := v.Unlock(n.t.Context(), volume, n.device(volume), n.how); err != nil {
		n.t.Fatal(err)
	}
	s := n.look(v, volume)
	if (s.Mapped.Device == "") != (s.Refused != "") {
		n.t.Fatalf("volume %s: %+v", volume, s)
	}
	return s.Refused
}

// made is a node with both volumes, made, opened and with a recovery key.
func made(t *testing.T) *node {
	t.Helper()
	n := newNode(t)
	n.makeVolumes()
	return n
}

// makeVolumes makes both, as the node is told to.
func (n *node) makeVolumes() {
	t := n.t
	t.Helper()
	v := n.boot("release 1")
	for _, volume := range []string{storage.State, storage.Data} {
		if err := v.Encrypt(t.Context(), volume, n.device(volume), n.how); err != nil {
			t.Fatal(err)
		}
		if reason := n.unlock(v, volume); reason != "" {
			t.Fatal(reason)
		}
		if volume == storage.State && n.machine != nil {
			if err := v.Cap(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if err := v.Enrol(t.Context(), volume, n.device(volume)); err != nil {
			t.Fatal(err)
		}
		if s := n.look(v, volume); !s.Enrolled || s.HeaderBytes != luks.HeaderBytes || s.Mapped.SizeBytes != 12<<20 || s.Mapped.Numbers != "253:0" {
			t.Errorf("volume %s: %+v", volume, s)
		}
	}
}

// keys are the numbers of the slots of a volume.
func (n *node) keys(volume string) []int {
	n.t.Helper()
	h, err := luks.Inspect(n.device(volume))
	if err != nil {
		n.t.Fatal(err)
	}
	var out []int
	for _, k := range h.Keyslots {
		out = append(out, k.Number)
	}
	return out
}
