package command

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// Bounds of a resume token. One has some hundred bytes; its third number is what it says it takes unpacked, which zfs asks for as memory before it
// looks (zfs_send_resume_token_to_nvlist in lib/libzfs/libzfs_sendrecv.c).
const (
	maxTokenBytes    = 64 << 10
	maxUnpackedBytes = 1 << 20
)

// checkToken returns an error unless token has the form of a resume token of version 1: the version, a checksum, the length unpacked and the content
// in hexadecimal, with '-' between.
func checkToken(token string) error {
	if len(token) > maxTokenBytes {
		return fmt.Errorf("%w: it has %d bytes, expected %d at most", zfs.ErrBadToken, len(token), maxTokenBytes)
	}
	parts := strings.Split(token, "-")
	if len(parts) != 4 || parts[0] != "1" {
		return fmt.Errorf("%w: expected 1-CHECKSUM-LENGTH-CONTENT, got %.40q", zfs.ErrBadToken, token)
	}
	for _, part := range parts[1:] {
		if part == "" || strings.Trim(part, "0123456789abcdef") != "" {
			return fmt.Errorf("%w: expected hexadecimal digits, got %.40q", zfs.ErrBadToken, part)
		}
	}
	if n, err := strconv.ParseUint(parts[2], 16, 64); err != nil || n > maxUnpackedBytes {
		return fmt.Errorf("%w: it says that it has %s bytes (hexadecimal) unpacked, expected %x at most", zfs.ErrBadToken, parts[2], maxUnpackedBytes)
	}
	return nil
}

// Token implements [zfs.System]. zfs send -n -t says what is in a token, and then looks for the snapshot, which on a receiver has another name or is
// not there at all: what it has said by then is the answer.
func (s *System) Token(ctx context.Context, token string) (zfs.Token, error) {
	if err := checkToken(token); err != nil {
		return zfs.Token{}, err
	}
	out, err := s.run.Zfs(ctx, "send", "-n", "-P", "-t", token)
	var e *Error
	if err != nil && (!errors.As(err, &e) || ctx.Err() != nil || !strings.HasPrefix(string(out), tokenHead)) {
		return zfs.Token{}, err
	}
	return parseToken(string(out))
}

// tokenHead is what the content of a token begins with (zfs_send_resume_impl_cb_impl).
const tokenHead = "resume token contents:\n"

// parseToken reads the content of a token, as nvlist_print of lib/libnvpair/libnvpair.c has it: lines of a tab, a name, " = " and a value, which is a
// hexadecimal number, a 1 or a text.
func parseToken(text string) (zfs.Token, error) {
	body, ok := strings.CutPrefix(text, tokenHead)
	if !ok {
		return zfs.Token{}, fmt.Errorf("read output of zfs send -n -t: expected %q, got %.100q", tokenHead, text)
	}
	values := map[string]string{}
	for line := range strings.Lines(body) {
		name, value, ok := strings.Cut(strings.TrimSuffix(line, "\n"), " = ")
		if name, tab := strings.CutPrefix(name, "\t"); ok && tab {
			values[name] = value
		}
	}
	// A stream with blocks above 128 KiB says so in the first, and each of --compressed in the second.
	large := values["largeblockok"] == "1" || values["compressok"] == "1"
	t := zfs.Token{ToName: values["toname"], Large: large, Raw: values["rawok"] == "1"}
	if _, err := zfs.ParseName(t.ToName); err != nil || !strings.Contains(t.ToName, "@") {
		return zfs.Token{}, fmt.Errorf("%w: its toname is %.300q, expected a snapshot", zfs.ErrBadToken, t.ToName)
	}
	for name, to := range map[string]*uint64{"toguid": (*uint64)(&t.To), "fromguid": (*uint64)(&t.From), "bytes": &t.BytesReceived} {
		value, ok := values[name]
		if !ok && name == "fromguid" {
			continue // a full stream
		}
		n, err := strconv.ParseUint(value, 0, 64)
		if err != nil {
			return zfs.Token{}, fmt.Errorf("%w: its %s is %.40q, expected a number", zfs.ErrBadToken, name, value)
		}
		*to = n
	}
	return t, nil
}
