package build

import (
	"bytes"
	"encoding/pem"
	"fmt"
	"strings"

	"github.com/cyvive/cyvive/images/internal/tree"
)

const (
	// authoritiesPackage is Debian's package of the public certificate authorities, one
	// file for each below authoritiesDir.
	authoritiesPackage = "ca-certificates"
	authoritiesDir     = "/usr/share/ca-certificates/"
	// authoritiesFile is where Go looks for them first (crypto/x509, root_linux.go).
	authoritiesFile = "/etc/ssl/certs/ca-certificates.crt"
)

func isAuthority(name string) bool {
	return strings.HasPrefix(name, authoritiesDir) && strings.HasSuffix(name, ".crt")
}

// authorities puts the certificates of a tree one behind the other, in the order of
// their paths. It stands for update-ca-certificates, which no maintainer script calls
// here.
func authorities(from *tree.Tree) ([]byte, error) {
	var out bytes.Buffer
	for _, name := range from.Paths() {
		e := from.Get(name)
		if e.Kind != tree.File || !isAuthority(name) {
			continue
		}
		text, err := e.Content()
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", name, err)
		}
		block, rest := pem.Decode(text)
		if block == nil || block.Type != "CERTIFICATE" || len(bytes.TrimSpace(rest)) > 0 {
			return nil, fmt.Errorf("read %s: it is not one certificate in PEM", name)
		}
		out.Write(text)
		if !bytes.HasSuffix(text, []byte("\n")) {
			out.WriteByte('\n')
		}
	}
	if out.Len() == 0 {
		return nil, fmt.Errorf("find certificates below %s: there are none in the packages", authoritiesDir)
	}
	return out.Bytes(), nil
}
