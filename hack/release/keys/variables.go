package keys

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/cyvive/cyvive/internal/trust/secureboot"
)

// WriteVariables makes the signed variables anew: PK with the platform key alone, KEK and db with their own and further entries. It needs the keys of PK and
// KEK. A machine that has enrolled earlier ones keeps those.
func WriteVariables(dir string, now time.Time, further map[secureboot.Variable][]secureboot.Entry) error {
	platform, err := loadSigner(dir, secureboot.PK)
	if err != nil {
		return fmt.Errorf("make variables of Secure Boot: %w", err)
	}
	exchange, err := loadSigner(dir, secureboot.KEK)
	if err != nil {
		return fmt.Errorf("make variables of Secure Boot: %w", err)
	}
	programs, err := loadCertificate(dir, secureboot.DB)
	if err != nil {
		return fmt.Errorf("make variables of Secure Boot: %w", err)
	}
	owner := secureboot.OwnerOf(platform.Certificate)
	for _, c := range []struct {
		v     secureboot.Variable
		holds *x509.Certificate
		by    *secureboot.Signer
	}{{secureboot.PK, platform.Certificate, platform}, {secureboot.KEK, exchange.Certificate, platform}, {secureboot.DB, programs, exchange}} {
		entries := append([]secureboot.Entry{secureboot.CertificateEntry(owner, c.holds)}, further[c.v]...)
		data, err := c.by.SignVariable(c.v, entries, now)
		if err != nil {
			return fmt.Errorf("make variables of Secure Boot: %w", err)
		}
		if err := replace(secureBootFile(dir, c.v, variableEnd), data); err != nil {
			return fmt.Errorf("make variables of Secure Boot: %w", err)
		}
	}
	return nil
}

// replace writes a file, whole or not at all.
func replace(path string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(data)
	if err := errors.Join(err, f.Chmod(0o644), f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// Variables reads what firmware is to enrol, and sees to it that firmware which does starts what the program key has signed.
func Variables(dir string) (map[secureboot.Variable][]byte, error) {
	out, certs := map[secureboot.Variable][]byte{}, map[secureboot.Variable]*x509.Certificate{}
	for _, c := range certificates {
		var err error
		if certs[c.variable], err = loadCertificate(dir, c.variable); err != nil {
			return nil, err
		}
		if out[c.variable], err = os.ReadFile(secureBootFile(dir, c.variable, variableEnd)); err != nil {
			return nil, fmt.Errorf("read variables of Secure Boot: %w", err)
		}
	}
	return out, secureboot.Check(out, certs[secureboot.PK], certs[secureboot.KEK], certs[secureboot.DB])
}

// Entries reads what else firmware is to trust: certificates in PEM or one in DER, or signature lists of UEFI (.esl). The owner is of those that the
// file does not say it for.
func Entries(path string, owner secureboot.GUID) ([]secureboot.Entry, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read certificates: %w", err)
	}
	entries, err := ParseEntries(data, owner)
	if err != nil {
		return nil, fmt.Errorf("read certificates: %s: %w", path, err)
	}
	return entries, nil
}

// ParseEntries is Entries of a file's content.
func ParseEntries(data []byte, owner secureboot.GUID) ([]secureboot.Entry, error) {
	if c, err := x509.ParseCertificate(data); err == nil {
		return []secureboot.Entry{secureboot.CertificateEntry(owner, c)}, nil
	}
	var out []secureboot.Entry
	rest := data
	for {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil || block.Type != certificateType {
			return nil, fmt.Errorf("a PEM block %s that is no certificate", block.Type)
		}
		out = append(out, secureboot.CertificateEntry(owner, c))
	}
	if len(out) > 0 {
		if left := bytes.TrimSpace(rest); len(left) > 0 {
			return nil, fmt.Errorf("%d bytes behind the last certificate", len(left))
		}
		return out, nil
	}
	lists, err := secureboot.ParseLists(data)
	if err != nil || len(lists) == 0 {
		return nil, errors.New("neither certificates (DER, PEM) nor signature lists (.esl)")
	}
	return lists, nil
}

// Platform reads the certificate of the platform key, which names who owns machines that enrol it.
func Platform(dir string) (*x509.Certificate, error) { return loadCertificate(dir, secureboot.PK) }
