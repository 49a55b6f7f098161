package redact

import "strings"

const (
	keyBegin, keyEnd, keyMark = "-----BEGIN ", "-----END ", "PRIVATE KEY-----"
	// maxKeyBytes is more than any private key in PEM has.
	maxKeyBytes = 16 << 10
	// maxLabelBytes is more than any kind of key has for a name.
	maxLabelBytes = 32
)

// keys finds private keys in PEM, and halves of them where a text was cut off.
func keys(text string) []span {
	var out []span
	var begin, end mark
	for at := 0; ; {
		begin.seek(text, keyBegin, at)
		end.seek(text, keyEnd, at)
		var s span
		switch {
		case begin.at < 0 && end.at < 0:
			return out
		case begin.at < 0 || end.at >= 0 && end.at < begin.at: // its beginning is missing
			s = span{max(at, end.at-maxKeyBytes), end.after}
		case end.at >= 0 && end.at < begin.at+maxKeyBytes:
			s = span{begin.at, end.after}
		default: // its end is
			s = span{begin.at, min(len(text), begin.at+maxKeyBytes)}
		}
		out = append(out, s)
		at = s.to
	}
}

// mark is a line with which a private key begins or ends, and where it stops. It begins
// as one before all text; at is -1 when there is no more.
type mark struct {
	at, after int
	sought    bool
}

// seek moves on to the first mark from a place on.
func (m *mark) seek(text, kind string, from int) {
	if m.sought && (m.at < 0 || m.at >= from) {
		return
	}
	m.sought = true
	m.at, m.after = label(text, kind, from)
}

// label finds the first line from a place on with which a private key begins or ends,
// and where that line stops; -1 is none.
func label(text, kind string, from int) (at, after int) {
	for {
		i := strings.Index(text[from:], kind)
		if i < 0 {
			return -1, -1
		}
		at, from = from+i, from+i+len(kind)
		rest := text[from:min(len(text), from+maxLabelBytes+len(keyMark))]
		if length := strings.Index(rest, keyMark); length >= 0 && !strings.ContainsAny(rest[:length], "\n-") {
			return at, from + length + len(keyMark)
		}
	}
}
