package luks

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
)

// The form of every volume; the package comment says why.
const (
	cipher       = "aes-xts-plain64"
	keyBits      = 512 // two keys of AES-256
	sectorBytes  = 4096
	metadataSize = "16k"
	keyslotsSize = "4064k"
)

// HeaderBytes is by how much a volume is smaller than its device.
const HeaderBytes = 4 << 20

// MapperDir is where open volumes appear.
const MapperDir = "/dev/mapper/"

// Format makes a volume with one key, in slot 0, and with a new UUID. What the device held is lost; Format does not look at it. An interrupted
// one leaves no header, or one whose key is not known to anybody. The error is ErrForm where cryptsetup makes it otherwise than Open demands.
func (c Cryptsetup) Format(ctx context.Context, device, label string, s Secret) error {
	_, err := c.run(ctx, []Secret{s}, nil, slices.Concat(formatArguments(label), s.derivation(), []string{device})...)
	if err == nil {
		err = Check(device)
	}
	if err != nil {
		return fmt.Errorf("make encrypted volume on %s: %w", device, err)
	}
	return nil
}

func formatArguments(label string) []string {
	return []string{
		"luksFormat", "--type=luks2", "--key-file=-", "--cipher=" + cipher, "--key-size=" + strconv.Itoa(keyBits),
		"--sector-size=" + strconv.Itoa(sectorBytes), "--luks2-metadata-size=" + metadataSize, "--luks2-keyslots-size=" + keyslotsSize,
		"--label=" + label, "--key-slot=0",
	}
}

// Open makes the volume's content appear as MapperDir and name. The error is ErrForm, ErrWrongKey or ErrBusy where it is one of them. A volume that opens is one
// of whoever knows the secret, and no other: the package comment says why. Its name and UUID are for the caller to look at, in its header.
func (c Cryptsetup) Open(ctx context.Context, device, name string, s Secret) error {
	if _, err := c.open(ctx, device, s, device, name); err != nil {
		return fmt.Errorf("open encrypted volume %s (%s): %w", name, device, err)
	}
	return nil
}

// Close takes an open volume away, and its key out of the kernel. The error is ErrBusy while it is mounted.
func (c Cryptsetup) Close(ctx context.Context, name string) error {
	if _, err := c.run(ctx, nil, nil, "close", name); err != nil {
		return fmt.Errorf("close encrypted volume %s: %w", name, err)
	}
	return nil
}

// Extend makes an open volume as large as its device has become.
func (c Cryptsetup) Extend(ctx context.Context, name string, s Secret) error {
	if _, err := c.run(ctx, []Secret{s}, nil, "resize", "--key-file=-", name); err != nil {
		return fmt.Errorf("grow encrypted volume %s: %w", name, err)
	}
	return nil
}

// Test returns the number of the slot that a key opens. The error is ErrForm or ErrWrongKey as that of Open. The volume may be open or not.
func (c Cryptsetup) Test(ctx context.Context, device string, s Secret) (int, error) {
	out, err := c.open(ctx, device, s, "--test-passphrase", "--verbose", device)
	if err != nil {
		return 0, fmt.Errorf("try key on %s: %w", device, err)
	}
	for line := range strings.Lines(out) {
		if number, ok := between(line, "Key slot ", " unlocked."); ok {
			return strconv.Atoi(number)
		}
	}
	return 0, fmt.Errorf("try key on %s: cryptsetup did not say which slot it opens: %q", device, out)
}

func between(line, before, after string) (string, bool) {
	rest, ok := strings.CutPrefix(strings.TrimSpace(line), before)
	if !ok {
		return "", false
	}
	return strings.CutSuffix(rest, after)
}

// maxKeys is how many slots there is room for between the copies of the header and the data: fewer than the 32 that LUKS2 has at most.
const maxKeys = (HeaderBytes - firstArea) / areaBytes

// ErrFull says that a volume has as many keys as its header has room for.
var ErrFull = fmt.Errorf("it has %d keys, and there is room for no more: nodectl disk rotate removes those that nothing goes by any more", maxKeys)

// AddKey gives the volume a further key, next to one that it has, and returns the number of its slot. The error is ErrFull where there is no room for one.
func (c Cryptsetup) AddKey(ctx context.Context, device string, has, further Secret) (int, error) {
	if err := Check(device); err != nil {
		return 0, fmt.Errorf("add key to %s: %w", device, err)
	}
	before, err := Inspect(device)
	if err != nil {
		return 0, err
	}
	if len(before.Keyslots) >= maxKeys {
		return 0, fmt.Errorf("add key to %s: %w", device, ErrFull)
	}
	slot := 0
	for slices.ContainsFunc(before.Keyslots, func(k Keyslot) bool { return k.Number == slot }) {
		slot++
	}
	args := []string{"luksAddKey", "--key-file=-", "--new-key-slot=" + strconv.Itoa(slot)}
	if _, err := c.run(ctx, []Secret{has, further}, nil, slices.Concat(args, further.derivation(), []string{device, inherited})...); err != nil {
		return 0, fmt.Errorf("add key to %s: %w", device, err)
	}
	return slot, nil
}

// ErrLastKey is the refusal to remove the last key of a volume.
var ErrLastKey = errors.New("it is the last key: without it nobody can open the volume")

// RemoveKey removes the key in a slot. Tokens that belong to it stay, and belong to nothing then.
func (c Cryptsetup) RemoveKey(ctx context.Context, device string, slot int) error {
	h, err := Inspect(device)
	if err != nil {
		return err
	}
	has := func(k Keyslot) bool { return k.Number == slot }
	switch {
	case !slices.ContainsFunc(h.Keyslots, has):
		return fmt.Errorf("remove key from %s: it has no key in slot %d", device, slot)
	case len(h.Keyslots) == 1:
		return fmt.Errorf("remove key from %s: slot %d: %w", device, slot, ErrLastKey)
	}
	if _, err := c.run(ctx, nil, nil, "luksKillSlot", device, strconv.Itoa(slot)); err != nil {
		return fmt.Errorf("remove key from %s: %w", device, err)
	}
	return nil
}

// Inspect reads the header of a device, or of a backup.
func Inspect(path string) (Header, error) {
	f, err := os.Open(path)
	if err != nil {
		return Header{}, fmt.Errorf("read LUKS header: %w", err)
	}
	defer f.Close()
	h, err := ReadHeader(f)
	if err != nil {
		return Header{}, fmt.Errorf("%s: %w", path, err)
	}
	return h, nil
}
