package redact

import (
	"regexp"
	"slices"
	"strings"
	"unicode"
)

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
