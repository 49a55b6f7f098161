package keys

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"time"

	"github.com/cyvive/cyvive/internal/trust/secureboot"
)

// Ends of the names of the files of Secure Boot, behind that of the variable: PK, KEK and db.
const (
	// keyEnd is PKCS #8 in PEM, mode 0600. Releases need db.key alone; the others are for changes of what firmware trusts, and may lie elsewhere.
	keyEnd = ".key"
	// certificateEnd is X.509 in PEM.
	certificateEnd = ".crt"
	// variableEnd is what firmware takes as the variable's value, signed.
	variableEnd = ".auth"
)

const (
	certificateType = "CERTIFICATE"
	// keyBits is the one size of RSA that all firmware has to know (UEFI 2.10, 32.5.1 and 8.2.2 name RSA-2048).
	keyBits = 2048
	// validYears are those of certificates. Neither firmware nor kernel looks at them; some tools do.
	validYears = 30
	serialBits = 120
)

// certificates are whose there is one, and what it is called.
var certificates = []struct {
	variable secureboot.Variable
	name     string
}{
	{secureboot.PK, "Cyvive platform key"}, {secureboot.KEK, "Cyvive key exchange key"}, {secureboot.DB, "Cyvive program key"},
}

// secureBootFile names a file of Secure Boot, as db.key.
func secureBootFile(dir string, v secureboot.Variable, end string) string {
	return filepath.Join(dir, string(v)+end)
}

// EnsureSecureBoot makes the keys of Secure Boot, their certificates and the signed variables, those that are not there, and tells whether it made any
// key. A certificate without its key is left as it is: the key may be kept elsewhere. As with EnsurePolicy, nothing is made beside another's public key.
func EnsureSecureBoot(dir string, now time.Time) (made bool, err error) {
	if _, err := os.Stat(filepath.Join(dir, PrivateFile)); errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	for _, c := range certificates {
		fresh, err := ensureCertificate(dir, c.variable, c.name, now)
		if err != nil {
			return made, fmt.Errorf("make key of Secure Boot: %w", err)
		}
		made = made || fresh
	}
	for _, c := range certificates {
		if _, err := os.Stat(secureBootFile(dir, c.variable, variableEnd)); errors.Is(err, fs.ErrNotExist) {
			return made, WriteVariables(dir, now, nil)
		} else if err != nil {
			return made, fmt.Errorf("make variables of Secure Boot: %w", err)
		}
	}
	return made, nil
}

// ensureCertificate tells whether it made the key, too. One whose certificate is missing, because something was cut off, gets another.
func ensureCertificate(dir string, v secureboot.Variable, name string, now time.Time) (made bool, err error) {
	path := secureBootFile(dir, v, certificateEnd)
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	key, err := loadRSA(secureBootFile(dir, v, keyEnd))
	if errors.Is(err, fs.ErrNotExist) {
		made = true
		key, err = makeRSA(secureBootFile(dir, v, keyEnd))
	}
	if err != nil {
		return made, err
	}
	der, err := certify(key, name, now)
	if err != nil {
		return made, err
	}
	return made, create(path, 0o644, pem.EncodeToMemory(&pem.Block{Type: certificateType, Bytes: der}))
}

func makeRSA(path string) (*rsa.PrivateKey, error) {
	key, err := rsa.GenerateKey(rand.Reader, keyBits)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return key, create(path, 0o600, pem.EncodeToMemory(&pem.Block{Type: privateType, Bytes: der}))
}

// certify makes a certificate that its own key signs.
func certify(key *rsa.PrivateKey, name string, now time.Time) ([]byte, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), serialBits))
	if err != nil {
		return nil, err
	}
	serial.SetBit(serial, serialBits-1, 1) // so that all have one length, and signatures too
	id := sha256.Sum256(x509.MarshalPKCS1PublicKey(&key.PublicKey))
	now = now.UTC().Truncate(time.Second)
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name},
		NotBefore: now, NotAfter: now.AddDate(validYears, 0, 0),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning},
		BasicConstraintsValid: true, SubjectKeyId: id[:20], SignatureAlgorithm: x509.SHA256WithRSA,
	}
	return x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
}

// ProgramSigner reads the key that signs what firmware starts. In a folder that has none the error is fs.ErrNotExist.
func ProgramSigner(dir string) (*secureboot.Signer, error) { return loadSigner(dir, secureboot.DB) }

func loadSigner(dir string, v secureboot.Variable) (*secureboot.Signer, error) {
	key, err := loadRSA(secureBootFile(dir, v, keyEnd))
	if err != nil {
		return nil, err
	}
	c, err := loadCertificate(dir, v)
	if err != nil {
		// Not wrapped: a key without its certificate is not the same as no key.
		return nil, fmt.Errorf("read key of Secure Boot: %s is of no use: %v", secureBootFile(dir, v, keyEnd), err)
	}
	if !key.PublicKey.Equal(c.PublicKey) {
		return nil, fmt.Errorf("read key of Secure Boot: %s is not the key of the certificate %s%s beside it", secureBootFile(dir, v, keyEnd), v, certificateEnd)
	}
	return &secureboot.Signer{Certificate: c, Key: key}, nil
}

func loadCertificate(dir string, v secureboot.Variable) (*x509.Certificate, error) {
	path := secureBootFile(dir, v, certificateEnd)
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read certificate of Secure Boot: %w", err)
	}
	block, _ := pem.Decode(data)
	if block == nil || block.Type != certificateType {
		return nil, fmt.Errorf("read certificate of Secure Boot: %s has no PEM block of the type %s", path, certificateType)
	}
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("read certificate of Secure Boot: %s: %w", path, err)
	}
	return c, nil
}

func loadRSA(path string) (*rsa.PrivateKey, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read key of Secure Boot: %w", err)
	}
	key, err := ParseRSA(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return key, nil
}

// ParseRSA reads what EnsureSecureBoot has written as a key. Errors name nothing of the key.
func ParseRSA(data []byte) (*rsa.PrivateKey, error) {
	block, _ := pem.Decode(data)
	if block == nil || block.Type != privateType {
		return nil, fmt.Errorf("read key of Secure Boot: no PEM block of the type %s", privateType)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, errors.New("read key of Secure Boot: not in the form of PKCS #8")
	}
	key, ok := parsed.(*rsa.PrivateKey)
	if !ok || key.N.BitLen() < keyBits {
		return nil, fmt.Errorf("read key of Secure Boot: a key of type %T, want RSA of %d bits at least", parsed, keyBits)
	}
	return key, nil
}
