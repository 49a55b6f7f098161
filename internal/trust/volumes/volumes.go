package volumes

import (
	"context"
	"crypto/ecdsa"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/cyvive/cyvive/internal/storage"
	"github.com/cyvive/cyvive/internal/storage/luks"
	"github.com/cyvive/cyvive/internal/trust/kms"
	"github.com/cyvive/cyvive/internal/trust/pcr"
	"github.com/cyvive/cyvive/internal/trust/tpm"
)

// LUKS is what is done with volumes. luks.Cryptsetup implements it.
type LUKS interface {
	Format(ctx context.Context, device, label string, s luks.Secret) error
	Enclose(ctx context.Context, path, label string, s luks.Secret, content io.Reader) error
	Open(ctx context.Context, device, name string, s luks.Secret) error
	OpenDisk(ctx context.Context, device, name string, s luks.Secret) error
	Close(ctx context.Context, name string) error
	Extend(ctx context.Context, name string, s luks.Secret) error
	Test(ctx context.Context, device string, s luks.Secret) (int, error)
	AddKey(ctx context.Context, device string, has, further luks.Secret) (int, error)
	RemoveKey(ctx context.Context, device string, slot int) error
	PutToken(ctx context.Context, device string, t luks.Token) error
}

// Marks keep on a device that it is being made. blockdev.Disk implements it.
type Marks interface {
	BeginFormat(ctx context.Context, device string) error
	FinishFormat(ctx context.Context, device string) error
}

// Config is what the volumes of a node need. All fields are needed.
type Config struct {
	LUKS  LUKS
	Marks Marks
	// TPM opens the machine's TPM.
	TPM func() (*tpm.TPM, error)
	// Signatures are those of the running release.
	Signatures func() ([]pcr.Signature, error)
	// Signers are the keys that the running release trusts; the first is whom keys are sealed for. Without one nothing is sealed to the TPM.
	Signers []*ecdsa.PublicKey
	// KeyServer asks key servers.
	KeyServer kms.Caller
	// Machine is the UUID that the firmware gives this machine, empty if it gives none.
	Machine string
	// KeyDir is the folder for keys on the mounted state volume, and Records one on a tmpfs, for what is to be known until the next boot.
	KeyDir, Records string
	// Mapper is the folder of open volumes, and Sysfs the root of sysfs.
	Mapper, Sysfs string
}

// Volumes implements storage.Crypt. Its methods may be called concurrently.
type Volumes struct {
	cfg Config
	// changing is held by who changes the keys of an open volume, longer than mu.
	changing sync.Mutex
	mu       sync.Mutex
	// keys are those of the volumes that this process has opened, and failures how often it tried in vain.
	keys     map[string][]byte
	failures map[string]int
	// waits is what the last attempt to open state lacked, and vain that of which it was seen that it does not open it.
	waits string
	vain  vain
}

// New returns the volumes of a node.
func New(cfg Config) *Volumes {
	return &Volumes{cfg: cfg, keys: map[string][]byte{}, failures: map[string]int{}}
}

// mapperName is the name of an open volume.
func mapperName(volume string) string { return luks.MapperPrefix + volume }

// Numbers of the tokens in a header.
const (
	sealedToken   = 0
	recoveryToken = 1
)

// RecoveryType is the type of the token that says which slot the recovery key opens, and which key that is: recovery.Key.ID.
const RecoveryType = "cyvive-recovery"

// Volume implements storage.Crypt.
func (v *Volumes) Volume(_ context.Context, volume, device string) (storage.CryptState, error) {
	h, err := luks.Inspect(device)
	if err != nil {
		return storage.CryptState{}, err
	}
	s := storage.CryptState{HeaderBytes: h.OffsetBytes, Enrolled: v.enrolled(h)}
	if volume == storage.State {
		s.By, s.Server, s.Unnoted = modeOf(h), serverOf(h), v.unnoted()
		v.mu.Lock()
		s.Waits = v.waits
		v.mu.Unlock()
	}
	reason, err := os.ReadFile(v.refusalFile(volume))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return s, err
	}
	s.Refused = string(reason)
	s.Mapped, err = v.mapped(mapperName(volume), filepath.Base(device))
	return s, err
}

func (v *Volumes) refusalFile(volume string) string {
	return filepath.Join(v.cfg.Records, volume+".refused")
}

// refuse keeps why a volume is not opened in this boot.
func (v *Volumes) refuse(volume string, reason error) error {
	if err := writeFile(v.refusalFile(volume), []byte(reason.Error())); err != nil {
		return fmt.Errorf("record that volume %s does not open (%w): %w", volume, reason, err)
	}
	return nil
}

func (v *Volumes) capFile() string { return filepath.Join(v.cfg.Records, "capped") }

// Capped implements storage.Crypt.
func (v *Volumes) Capped() (bool, error) {
	_, err := os.Stat(v.capFile())
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// Cap implements storage.Crypt. An agent that dies between the TPM and the record has its successor do it once more, which does no harm. A TPM that
// cannot do it keeps a node only from a state volume that it has opened: one that is out of order is no reason why a plain volume should not be used.
func (v *Volumes) Cap(context.Context) error {
	err := v.capTPM()
	if err != nil {
		if open, errOpen := v.findMapped(mapperName(storage.State)); open != "" || errOpen != nil {
			return errors.Join(err, errOpen)
		}
		return writeFile(v.capFile(), []byte(err.Error()))
	}
	return writeFile(v.capFile(), nil)
}

func (v *Volumes) capTPM() error {
	t, err := v.cfg.TPM()
	if err != nil {
		return err
	}
	defer t.Close()
	return t.Cap()
}

// writeFile makes a file or replaces it as a whole, readable by root only, and on the disk when it returns. What it writes beside has one name for a
// file, so that a power cut leaves no more than one half, of a key that was never used, and none once the file is written.
func writeFile(path string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	beside := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".new")
	if err := os.Remove(beside); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(beside, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(data)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// removeFile removes a file, which is gone for good when it returns. One that is not there is no error.
func removeFile(path string) error {
	if err := os.Remove(path); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	}
	return syncDir(filepath.Dir(path))
}

func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
