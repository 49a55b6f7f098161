package luks

import (
	"bytes"
	"context"
	"fmt"
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
