package luks

import (
	"context"
	"crypto/aes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"golang.org/x/crypto/xts"
)

// encloseBytes is how much is encrypted at once.
const encloseBytes = 1 << 20

// Enclose makes a file, which has its size, into a volume as Format does, with a content: exactly as much as there is room for. It needs no kernel that
// knows the device-mapper, nor the file to be a device.
func (c Cryptsetup) Enclose(ctx context.Context, path, label string, s Secret, content io.Reader) error {
	key := make([]byte, keyBits/8)
	_, _ = rand.Read(key) // never fails: crypto/rand, since Go 1.24
	defer clear(key)
	args := slices.Concat(formatArguments(label), []string{"--volume-key-file=" + inherited}, s.derivation(), []string{path})
	if _, err := c.run(ctx, []Secret{s, {bytes: key}}, nil, args...); err != nil {
		return fmt.Errorf("make encrypted volume in %s: %w", path, err)
	}
	if err := Check(path); err != nil {
		return fmt.Errorf("make encrypted volume in %s: %w", path, err)
	}
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	err = encryptTo(f, key, content)
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("write encrypted volume in %s: %w", path, err)
	}
	return nil
}

// encryptTo writes a content as dm-crypt would, behind the header of a volume, up to the end of the file.
func encryptTo(f *os.File, key []byte, content io.Reader) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	x, err := xts.NewCipher(aes.NewCipher, key)
	if err != nil {
		return err
	}
	buffer := make([]byte, encloseBytes)
	for at := int64(HeaderBytes); at < info.Size(); at += encloseBytes {
		part := buffer[:min(encloseBytes, info.Size()-at)]
		if _, err := io.ReadFull(content, part); err != nil {
			return fmt.Errorf("read what goes into it at byte %d: %w", at-HeaderBytes, err)
		}
		if err := encryptSectors(x, part, at-HeaderBytes); err != nil {
			return err
		}
		if _, err := f.WriteAt(part, at); err != nil {
			return err
		}
	}
	if n, _ := content.Read(buffer[:1]); n > 0 {
		return errors.New("there is more to go into it than it has room for")
	}
	return nil
}

// ivBytes is the unit in which plain64 counts, whatever the size of sectors is: LUKS2 does not ask for iv_large_sectors (the kernel's
// admin-guide/device-mapper/dm-crypt).
const ivBytes = 512

// encryptSectors encrypts sectors in their place; the first one begins at a byte of the content.
func encryptSectors(x *xts.Cipher, sectors []byte, at int64) error {
	if len(sectors)%sectorBytes != 0 {
		return fmt.Errorf("%d bytes are no whole sectors of %d", len(sectors), sectorBytes)
	}
	for i := 0; i < len(sectors); i += sectorBytes {
		s := sectors[i : i+sectorBytes]
		x.Encrypt(s, s, uint64(at+int64(i))/ivBytes)
	}
	return nil
}
