package redact

import (
	"cmp"
	"regexp"
	"slices"
	"strings"
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
