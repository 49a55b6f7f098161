package volumes

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/cyvive/cyvive/internal/storage"
	"github.com/cyvive/cyvive/internal/storage/luks"
	"github.com/cyvive/cyvive/internal/trust/recovery"
)

var (
	// ErrNoPlace says that the node's own volumes are not encrypted: a key of a disk would lie in the clear beside it.
	ErrNoPlace = errors.New("the node's own volumes are not encrypted, so there is no place for the key of another disk")
	// ErrNoDisk says that a name is not that of the encrypted disk of a pool.
	ErrNoDisk = errors.New("it is not the name of the encrypted disk of a pool")
	// ErrOther says that another disk has come to the place where one was seen.
	ErrOther = errors.New("another encrypted volume is there by now; the disks are looked at again in a moment")
)

// DiskState is what is known of the encrypted volume on a disk of a pool.
type DiskState struct {
	// Device is where its content appears while it is open.
	Device string
	// Open says that it is. Stale: one of its name is open, and what that lay on is gone; it was this one in another place, or before it was pulled. Double: one
	// of its name is open and lies on another disk that is there.
	Open, Stale, Double bool
	// Keyed says that the node has a key of it, Recoverable that its recovery key opens it.
	Keyed, Recoverable bool
}

// Encrypts says that the state volume is encrypted and open, so that keys of disks can lie on it, or that this cannot be told just now: who goes by it is not to take
// a disk as it is for that. MakeDisk fails then.
func (v *Volumes) Encrypts() bool {
	place, err := v.hasPlace()
	return place || err != nil
}

// hasPlace says whether the state volume is encrypted and open.
func (v *Volumes) hasPlace() (bool, error) {
	open, err := v.findMapped(mapperName(storage.State))
	return open != "", err
}

// Disk returns what is known of the encrypted volume of a name on a partition.
func (v *Volumes) Disk(name, partition string) (DiskState, error) {
	if !luks.IsDiskName(name) {
		return DiskState{}, fmt.Errorf("look at encrypted disk %.60q: %w", name, ErrNoDisk)
	}
	s := DiskState{Device: filepath.Join(v.cfg.Mapper, mapperName(name)), Keyed: v.Keyed(name)}
	h, err := luks.Inspect(partition)
	if err != nil {
		return s, err
	}
	s.Recoverable = v.enrolled(h)
	dir, err := v.findMapped(mapperName(name))
	if err != nil || dir == "" {
		return s, err
	}
	if v.holds(filepath.Base(partition), filepath.Base(dir)) {
		s.Open = true
		return s, nil
	}
	s.Double, err = v.lies(dir)
	s.Stale = err == nil && !s.Double
	return s, err
}

// holds says that an open volume, by the kernel's name, lies on a device. The device has to say so: what the volume says names one that may be gone, and another
// may have come to its name since.
func (v *Volumes) holds(device, open string) bool {
	_, err := os.Lstat(filepath.Join(v.cfg.Sysfs, "class/block", device, "holders", open)) // since Linux 2.6.18
	return err == nil
}

// lies says that an open volume, by its folder in sysfs, lies on a device that is there.
func (v *Volumes) lies(dir string) (bool, error) {
	below, err := os.ReadDir(filepath.Join(dir, "slaves"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	for _, device := range below {
		if v.holds(device.Name(), filepath.Base(dir)) {
			return true, nil
		}
	}
	return false, nil
}

// MakeDisk makes an encrypted volume on a partition, opens it, and returns where its content appears, which begins with zeros. What the partition held is lost. Its key
// is on the state volume before there is a header. Until the header is whole there is a mark on the partition. The error is ErrNoPlace on a node whose own volumes are
// not encrypted.
func (v *Volumes) MakeDisk(ctx context.Context, partition string) (device string, err error) {
	place, err := v.hasPlace()
	if err == nil && !place {
		err = ErrNoPlace
	}
	if err != nil {
		return "", fmt.Errorf("encrypt disk (%s): %w", partition, err)
	}
	name := luks.NewDiskName()
	if err := v.Encrypt(ctx, name, partition, storage.Encryption{}); err != nil {
		return "", errors.Join(err, v.forgetUnmade(name, partition))
	}
	return filepath.Join(v.cfg.Mapper, mapperName(name)), v.OpenDisk(ctx, name, partition)
}

// forgetUnmade removes the key of a volume that could not be made, if it has no header.
func (v *Volumes) forgetUnmade(name, partition string) error {
	if h, err := luks.Inspect(partition); err == nil && h.Label == name {
		return nil // the mark is still there: who makes the next one forgets it
	}
	return v.ForgetDisk(name)
}

// OpenDisk opens the encrypted volume of a name on a partition by the key that the node has of it. The error is of luks.Cryptsetup.Open, or says that there is no key.
func (v *Volumes) OpenDisk(ctx context.Context, name, partition string) error {
	if !luks.IsDiskName(name) {
		return fmt.Errorf("open encrypted disk %.60q: %w", name, ErrNoDisk)
	}
	key, err := v.readSecret(name)
	if err != nil {
		return fmt.Errorf("open encrypted disk %s (%s): %w", name, partition, err)
	}
	return v.openDisk(ctx, name, partition, key)
}

func (v *Volumes) openDisk(ctx context.Context, name, partition string, key luks.Secret) error {
	err := v.cfg.LUKS.OpenDisk(ctx, partition, mapperName(name), key)
	if errors.Is(err, luks.ErrBusy) {
		err = fmt.Errorf("%w: %w", ErrOpen, err)
	}
	return err
}

// CloseDisk closes the open volume of a name, wherever it lies. The error is ErrOpen while somebody uses it.
func (v *Volumes) CloseDisk(ctx context.Context, name string) error {
	err := v.cfg.LUKS.Close(ctx, mapperName(name))
	if errors.Is(err, luks.ErrBusy) {
		err = fmt.Errorf("%w, and in use: %w", ErrOpen, err)
	}
	return err
}

// ExtendDisk makes an open volume as large as its partition has become.
func (v *Volumes) ExtendDisk(ctx context.Context, name string) error { return v.Extend(ctx, name) }

// Opens says that the key that the node has of a name opens what is on a partition, which proves that the node has made it, or a copy of it. It is false, too, where that
// cannot be told.
func (v *Volumes) Opens(ctx context.Context, name, partition string) bool {
	if !luks.IsDiskName(name) {
		return false
	}
	key, err := v.readSecret(name)
	if err != nil {
		return false
	}
	_, err = v.cfg.LUKS.Test(ctx, partition, key)
	return err == nil
}

// ForgetDisk removes the keys that the node has of a volume, which was wiped or is not to be opened any more.
func (v *Volumes) ForgetDisk(name string) error {
	if !luks.IsDiskName(name) {
		return fmt.Errorf("forget the key of encrypted disk %.60q: %w", name, ErrNoDisk)
	}
	v.changing.Lock()
	defer v.changing.Unlock()
	v.mu.Lock()
	delete(v.keys, name)
	v.mu.Unlock()
	for _, file := range []string{v.keyFile(name), v.keyFile(name + pendingSuffix)} {
		if err := removeFile(file); err != nil {
			return fmt.Errorf("forget the key of encrypted disk %s: %w", name, err)
		}
	}
	return nil
}

// RecoverDisk opens the volume of a pool's disk that another node has made, or one whose key this one has lost, with the recovery key of the node that has made it.
// Where keys have a place on this node, it is given one of this node's, by which it opens from then on. It may be repeated: what was done stays so. The error is
// ErrOtherRecoveryKey where the key is another one, ErrForm where somebody else has written the header, and ErrOther where the volume on the partition is of another name.
func (v *Volumes) RecoverDisk(ctx context.Context, name, partition string, k recovery.Key) error {
	if !luks.IsDiskName(name) {
		return fmt.Errorf("recover encrypted disk %.60q: %w", name, ErrNoDisk)
	}
	v.changing.Lock()
	defer v.changing.Unlock()
	if err := v.recoverDisk(ctx, name, partition, k); err != nil {
		return fmt.Errorf("recover encrypted disk %s (%s): %w", name, partition, err)
	}
	return nil
}

func (v *Volumes) recoverDisk(ctx context.Context, name, partition string, k recovery.Key) error {
	has, err := luks.Key(k.Bytes())
	if err != nil {
		return err
	}
	h, err := luks.Inspect(partition)
	if err != nil {
		return err
	}
	if err := isOf(h, name); err != nil {
		return err
	}
	_, err = v.cfg.LUKS.Test(ctx, partition, has)
	if errors.Is(err, luks.ErrWrongKey) {
		return fmt.Errorf("%w: %w", ErrOtherRecoveryKey, err)
	}
	if err != nil {
		return err
	}
	place, err := v.hasPlace()
	if err == nil && place {
		err = v.adopt(ctx, name, partition, has)
	}
	if err != nil {
		return err
	}
	return v.openDisk(ctx, name, partition, has)
}

// isOf wants a header to be that of a pool's disk of a name. Partitions have the kernel's names, which go to other disks; and the recovery key opens all that a node has made.
func isOf(h luks.Header, name string) error {
	if h.Label != name {
		return fmt.Errorf("%w: %.60q", ErrOther, h.Label)
	}
	return nil
}

// adopt gives a volume a key of this node's, next to one that opens it. The key is on the state volume first: one that is there and opens nothing yet is what an
// interrupted attempt has left.
func (v *Volumes) adopt(ctx context.Context, name, partition string, has luks.Secret) error {
	data, err := v.readKey(name)
	if errors.Is(err, errNoKey) {
		_, data = luks.NewKey()
		err = writeFile(v.keyFile(name), data)
	}
	if err != nil {
		return err
	}
	own, err := luks.Key(data)
	if err != nil {
		return err
	}
	_, err = v.cfg.LUKS.Test(ctx, partition, own)
	if errors.Is(err, luks.ErrWrongKey) {
		_, err = v.addKey(ctx, partition, has, own)
	}
	return err
}
