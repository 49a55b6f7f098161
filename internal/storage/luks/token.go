package luks

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
)

// PutToken stores a token in the place of its Number, where there may be one already. Its key slots must be there.
func (c Cryptsetup) PutToken(ctx context.Context, device string, t Token) error {
	args := []string{"token", "import", "--token-id=" + strconv.Itoa(t.Number), "--token-replace", "--json-file=-", device}
	if _, err := c.run(ctx, nil, t.JSON, args...); err != nil {
		return fmt.Errorf("put token %d into %s: %w", t.Number, device, err)
	}
	return nil
}

// Token returns the token of a number as cryptsetup gives it out.
func (c Cryptsetup) Token(ctx context.Context, device string, number int) (Token, error) {
	out, err := c.run(ctx, nil, nil, "token", "export", "--token-id="+strconv.Itoa(number), device)
	if err != nil {
		return Token{}, fmt.Errorf("get token %d of %s: %w", number, device, err)
	}
	t, err := ParseToken(bytes.TrimSpace([]byte(out)))
	if err != nil {
		return Token{}, fmt.Errorf("get token %d of %s: %w", number, device, err)
	}
	t.Number = number
	return t, nil
}

// RemoveToken removes a token. The keys that it belonged to stay.
func (c Cryptsetup) RemoveToken(ctx context.Context, device string, number int) error {
	if _, err := c.run(ctx, nil, nil, "token", "remove", "--token-id="+strconv.Itoa(number), device); err != nil {
		return fmt.Errorf("remove token %d of %s: %w", number, device, err)
	}
	return nil
}

// Backup writes the header and all its key slots to a new file, HeaderBytes long. It opens the volume with every key that the header has now, also
// when one of them is removed from the volume later; ReadHeader reads it as it reads a device.
func (c Cryptsetup) Backup(ctx context.Context, device, path string) error {
	if _, err := c.run(ctx, nil, nil, "luksHeaderBackup", "--header-backup-file="+path, device); err != nil {
		return fmt.Errorf("back up header of %s: %w", device, err)
	}
	return nil
}

// Restore writes a backup to the volume that it was made of. The header of another volume is refused: its keys open nothing here, and those that do
// would be gone. A volume whose own header cannot be read takes any, and the caller must know that it is the right one.
func (c Cryptsetup) Restore(ctx context.Context, device, path string) error {
	from, err := Inspect(path)
	if err != nil {
		return fmt.Errorf("restore header of %s: %w", device, err)
	}
	if to, err := Inspect(device); err == nil && to.UUID != from.UUID {
		return fmt.Errorf("restore header of %s: the backup is of volume %s, and this is volume %s", device, from.UUID, to.UUID)
	} else if errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if _, err := c.run(ctx, nil, nil, "luksHeaderRestore", "--header-backup-file="+path, device); err != nil {
		return fmt.Errorf("restore header of %s: %w", device, err)
	}
	return nil
}
