package redact

import (
	"cmp"
	"regexp"
	"slices"
	"strings"
	"unicode"
)

// Mark stands where something was taken out.
const Mark = "[redacted]"

// forms are secrets that are told by their form alone: what is behind the first group,
// up to the second if there is one. Each begins with letters by which it is found fast.
var forms = []*regexp.Regexp{
	regexp.MustCompile(`()AGE-SECRET-KEY-[0-9A-Za-z-]+`),
	// JSON Web Tokens, of service accounts above all.
	regexp.MustCompile(`()eyJ[\w-]{6,}\.[\w-]{4,}\.[\w-]{4,}`),
	// Private keys in PEM in base64, as kubeconfigs have them: "-----BEGIN " and not
	// "-----BEGIN C", with which a certificate begins.
	regexp.MustCompile(`()LS0tLS1CRUdJTiB[A-CE-Za-z0-9+/][\w+/=-]{8,}`),
	// A password in an address.
	regexp.MustCompile(`(://[^/\s:@"'?#]*:)[^/\s@"']+(@)`),
}

// named is a name that says what stands behind it, and what is between. As a flag, the
// name may have no more than white space behind it. A name is a whole word of letters,
// digits and -_. that holds one of hints.
var (
	named = regexp.MustCompile(`^(?i)([\w.-]*(?:password|passwd|passphrase|passcode|secret|token|credential|signature|api[-_.]?key|access[-_.]?key|` +
		`private[-_.]?key|client[-_.]?key|key[-_.]?data|encryption[-_.]?key|shared[-_.]?key)[\w.-]*|[\w.-]*(?:pass|pwd|psk|sig))` +
		`(\\?["']?\s*[=:]\s*|\s+)`)
	hints = []string{"pass", "secret", "token", "credential", "signature", "key", "pwd", "psk", "sig"}
)

// Behind names that end so stands a file's name, or a word that tells of the secret and
// is none.
var (
	ofFile    = regexp.MustCompile(`(?i)(?:file|path|dir)$`)
	ofWord    = regexp.MustCompile(`(?i)(?:name|namespace|type|mode|ttl|audiences?|issuer|expiration|duration|lookup|count|version)$`)
	plainPath = regexp.MustCompile(`^["']?/[\w./@-]*["']?$`)
	plainWord = regexp.MustCompile(`^["']?[a-z0-9.-]{1,63}["']?$`)
)

// span is a part of a text.
type span struct{ from, to int }

// Text takes secrets out of a text and counts them. Doing it again changes nothing.
func Text(text string) (string, int) {
	lower := lowered(text)
	found := slices.Concat(keys(text), values(text, lower), credentials(text, lower), bootstrapTokens(text))
	for _, form := range forms {
		for _, at := range form.FindAllStringSubmatchIndex(text, -1) {
			s := span{at[3], at[1]}
			if len(at) > 4 {
				s.to = at[4]
			}
			found = append(found, s)
		}
	}
	slices.SortFunc(found, func(a, b span) int { return cmp.Or(cmp.Compare(a.from, b.from), cmp.Compare(b.to, a.to)) })
	var out strings.Builder
	n, at := 0, 0
	for _, s := range found {
		switch {
		case text[s.from:s.to] == Mark || s.to <= at:
			continue
		case s.from < at || n > 0 && s.from == at: // goes on with the one before
		default:
			out.WriteString(text[at:s.from])
			out.WriteString(Mark)
			n++
		}
		at = s.to
	}
	out.WriteString(text[at:])
	return out.String(), n
}

// values finds what stands behind names. A value may itself be a name with a value, so
// the search goes on at its beginning.
func values(text, lower string) []span {
	var out []span
	next := make([]int, len(hints)) // where each is found next; len(text) is nowhere
	for i := range next {
		next[i] = -1
	}
	covered := 0 // by the values found so far
	for from := 0; ; {
		for i, hint := range hints {
			if next[i] < from {
				next[i] = len(text)
				if at := strings.Index(lower[from:], hint); at >= 0 {
					next[i] = from + at
				}
			}
		}
		hint := slices.Min(next)
		if hint == len(text) {
			return out
		}
		word := hint
		for word > from && inName(lower[word-1]) {
			word--
		}
		at := named.FindStringSubmatchIndex(text[word:])
		if at == nil {
			for from = hint; from < len(text) && inName(lower[from]); from++ {
			}
			continue
		}
		name, between := text[word+at[2]:word+at[3]], text[word+at[4]:word+at[5]]
		from = word + at[1]
		if from < covered && !strings.ContainsAny(text[from:from+1], "\"'\\") {
			continue // it goes as far as the one before
		}
		if s := (span{from, from + valueBytes(text[from:])}); s.from < s.to && !stays(name, between, text[s.from:s.to]) {
			out = append(out, s)
			covered = max(covered, s.to)
		}
	}
}

// inName tells whether a byte in lower case can be part of a name.
func inName(b byte) bool {
	return isLetter(b) || b == '_' || b == '-' || b == '.'
}

// lowered is a text with its letters of ASCII in lower case, and as long.
func lowered(text string) string {
	out := []byte(text)
	for i, b := range out {
		if b >= 'A' && b <= 'Z' {
			out[i] = b + 'a' - 'A'
		}
	}
	return string(out)
}

// valueBytes is the length of the value at the beginning of a text: what is in quotes, in
// quotes within quotes, or before white space.
func valueBytes(text string) int {
	line, _, _ := strings.Cut(text, "\n")
	for _, quote := range []string{`\"`, `"`, `'`} {
		if !strings.HasPrefix(line, quote) {
			continue
		}
		for i := len(quote); i < len(line); i++ {
			if strings.HasPrefix(line[i:], quote) {
				return i + len(quote)
			}
			if line[i] == '\\' && quote != "'" {
				i++
			}
		}
	}
	if i := strings.IndexFunc(text, unicode.IsSpace); i >= 0 {
		return i
	}
	return len(text)
}

// stays tells whether what stands behind a name is no secret.
func stays(name, between, value string) bool {
	isFlag := strings.HasPrefix(name, "-")
	switch {
	case strings.TrimSpace(between) == "" && (!isFlag || strings.HasPrefix(value, "-")):
		return true // a word in a sentence, or a flag behind a flag
	case strings.HasPrefix(value, Mark[:len(Mark)-1]):
		return true
	case value == "true" || value == "false" || value == "null" || value == "nil":
		return true
	}
	return ofFile.MatchString(name) && plainPath.MatchString(value) || ofWord.MatchString(name) && plainWord.MatchString(value)
}

// credential is what HTTP's header Authorization holds.
var credential = regexp.MustCompile(`^(?i)((?:bearer|basic)\s+)[\w.~+/=-]{8,}`)

// credentials finds them.
func credentials(text, lower string) []span {
	var out []span
	for _, kind := range []string{"bearer", "basic"} {
		for from := 0; ; {
			i := strings.Index(lower[from:], kind)
			if i < 0 {
				break
			}
			at := from + i
			from = at + len(kind)
			if m := credential.FindStringSubmatchIndex(text[at:]); m != nil && (at == 0 || !isLetter(lower[at-1])) {
				out = append(out, span{at + m[3], at + m[1]})
			}
		}
	}
	return out
}

// bootstrapTokens finds those of Kubernetes: six letters or digits, a point, and 16.
func bootstrapTokens(text string) []span {
	const before, after = 6, 16
	var out []span
	for from := 0; ; {
		i := strings.IndexByte(text[from:], '.')
		if i < 0 {
			return out
		}
		s := span{from + i - before, from + i + 1 + after}
		from += i + 1
		if s.from < 0 || s.to > len(text) || s.from > 0 && isWord(text[s.from-1]) || s.to < len(text) && isWord(text[s.to]) {
			continue
		}
		if allLetters(text[s.from:from-1]) && allLetters(text[from:s.to]) {
			out = append(out, s)
		}
	}
}

// isLetter tells whether a byte is a letter in lower case or a digit.
func isLetter(b byte) bool { return b >= 'a' && b <= 'z' || b >= '0' && b <= '9' }

func isWord(b byte) bool { return isLetter(b) || b >= 'A' && b <= 'Z' || b == '_' }

func allLetters(text string) bool {
	for i := range len(text) {
		if !isLetter(text[i]) {
			return false
		}
	}
	return true
}

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
