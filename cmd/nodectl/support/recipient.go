package support

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"

	"filippo.io/age"
	"filippo.io/age/agessh"
)

// maxRecipients is more than a team has keys.
const maxRecipients = 1000

// ParseRecipient reads a public key to encrypt to: age's own (age1…), or one of SSH, of
// type ssh-ed25519 or ssh-rsa. A private key is refused, and not repeated in the error.
func ParseRecipient(text string) (age.Recipient, error) {
	text = strings.TrimSpace(text)
	switch {
	case strings.Contains(strings.ToUpper(text), "SECRET-KEY-") || strings.Contains(text, "PRIVATE KEY"):
		return nil, errors.New("this is a private key: give the public one, which begins with age1 or ssh-; age-keygen -y tells it")
	case strings.HasPrefix(text, "ssh-"):
		r, err := agessh.ParseRecipient(text)
		if err != nil {
			return nil, fmt.Errorf("recipient %.40q: %w", text, err)
		}
		return r, nil
	case strings.HasPrefix(text, "age1"):
		list, err := age.ParseRecipients(strings.NewReader(text))
		if err != nil || len(list) != 1 {
			return nil, fmt.Errorf("recipient %.80q is no public key of age: it is cut off, changed, or of a plugin", text)
		}
		return list[0], nil
	}
	return nil, fmt.Errorf("recipient %.80q: expected a public key of age (age1…) or of SSH (ssh-ed25519 or ssh-rsa)", text)
}

// ReadRecipients reads a file with one public key on each line; lines that are empty or
// begin with # are left out. A file of SSH's authorized_keys without options is one.
func ReadRecipients(r io.Reader) ([]age.Recipient, error) {
	var out []age.Recipient
	lines := bufio.NewScanner(r)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		found, err := ParseRecipient(line)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		if out = append(out, found); len(out) > maxRecipients {
			return nil, fmt.Errorf("more than %d recipients", maxRecipients)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read recipients: %w", err)
	}
	if len(out) == 0 {
		return nil, errors.New("there is no recipient in it")
	}
	return out, nil
}
