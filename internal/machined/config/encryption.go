package config

import (
	"bytes"
	"encoding/pem"
	"net/url"
	"slices"
	"strings"
)

func (o *object) disk() Disk {
	disk := Disk{Encryption{Mode: defaultEncryption}}
	o.inner("disk", func(d *object) {
		d.inner("encryption", func(e *object) { disk.Encryption = e.encryption() })
	})
	return disk
}

func (o *object) encryption() Encryption {
	e := Encryption{Mode: defaultEncryption}
	text := o.text("mode", "none, tpm, kms or passphrase", func(s string) bool { return slices.Contains(encryptionModes(), s) })
	if text != "" {
		e.Mode = EncryptionMode(text)
	}
	o.inner("kms", func(f *object) { e.KMS = f.keyServer() })
	if node := o.values["kms"]; e.Mode == EncryptionKMS && (node == nil || isNull(node)) {
		o.fail("kms", "missing, expected a mapping with endpoint and ca of the key server, which the mode kms needs")
	}
	return e
}

func (o *object) keyServer() *KeyServer {
	s := &KeyServer{
		Endpoint: o.requiredText("endpoint", "a URL such as https://kms.example:4050", isKeyServer),
		CA:       o.secret("ca", "PEM certificates of one or more authorities (CA:TRUE), and nothing else", areAuthorities).Reveal(),
	}
	o.inner("client", func(f *object) {
		pair := KeyPair{
			Certificate: f.secret("certificate", "a PEM certificate", isCertificate).Reveal(),
			Key:         f.secret("key", "a PEM private key", isPrivateKey),
		}
		if pair.Certificate != "" && !pair.Key.IsZero() && !keyMatches(pair) {
			f.fail("key", "does not belong to the certificate, expected its private key")
		}
		s.Client = &pair
	})
	return s
}

// maxKeyServerBytes is the longest URL of a key server: it has to have room in the header of a volume.
const maxKeyServerBytes = 512

func isKeyServer(s string) bool {
	u, err := url.Parse(s)
	if err != nil || len(s) > maxKeyServerBytes || u.Scheme != "https" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || strings.Trim(u.Path, "/") != "" {
		return false
	}
	_, ok := parseSAN(u.Hostname())
	return ok && (u.Port() == "" || isPort(u.Port()))
}

// areAuthorities takes one certificate of an authority or several, as there are while one takes the place of another: a disk is sealed with both, the server then gets
// another certificate, and no boot in between finds one that it does not know.
func areAuthorities(s string) bool {
	for rest := []byte(s); ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil || !isAuthority(string(pem.EncodeToMemory(block))) {
			return false
		}
		if len(bytes.TrimSpace(rest)) == 0 {
			return true
		}
	}
}

func isCertificate(s string) bool {
	_, err := parseCertificate(s)
	return err == nil
}
