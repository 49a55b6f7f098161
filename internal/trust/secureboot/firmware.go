package secureboot

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
)

// Firmware is what a machine's firmware checks before it starts a program.
type Firmware struct {
	// On says that it checks at all.
	On bool
	// DB is what it starts, and DBX what it does not.
	DB, DBX Database
}

const (
	// variableAttributeBytes are in front of a variable's content in efivarfs (Documentation/filesystems/efivarfs.rst).
	variableAttributeBytes = 4
	// maxVariableBytes bounds what is read of a variable. Microsoft's dbx has 25 kB.
	maxVariableBytes = 1 << 20
	// stateVariable is 1 while firmware checks signatures (UEFI 2.10, 3.3).
	stateVariable Variable = "SecureBoot"
)

// setupVariable is 1 while firmware takes keys from anybody (UEFI 2.10, 3.3 and 32.3).
const setupVariable Variable = "SetupMode"

// InSetupMode says from efivarfs whether firmware is in setup mode. A machine without the variable is not.
func InSetupMode(variables fs.FS) (bool, error) {
	mode, err := readVariable(variables, setupVariable)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err == nil && (len(mode) != 1 || mode[0] > 1) {
		err = fmt.Errorf("%s has %d bytes, want one of 0 or 1", setupVariable, len(mode))
	}
	if err != nil {
		return false, fmt.Errorf("read whether the firmware is in setup mode: %w", err)
	}
	return mode[0] == 1, nil
}

// Read reads the firmware's variables from efivarfs. A machine without them does not check.
func Read(variables fs.FS) (Firmware, error) {
	state, err := readVariable(variables, stateVariable)
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(state) == 1 && state[0] == 0 {
		return Firmware{}, nil
	}
	if err == nil && (len(state) != 1 || state[0] != 1) {
		err = fmt.Errorf("%s has %d bytes, want one of 0 or 1", stateVariable, len(state))
	}
	if err != nil {
		return Firmware{}, fmt.Errorf("read whether Secure Boot is on: %w", err)
	}
	f := Firmware{On: true}
	for v, into := range map[Variable]*Database{DB: &f.DB, DBX: &f.DBX} {
		data, err := readVariable(variables, v)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil {
			*into, err = ParseLists(data)
		}
		if err != nil {
			return Firmware{}, fmt.Errorf("read variable %s of the firmware: %w", v, err)
		}
	}
	return f, nil
}

func readVariable(variables fs.FS, v Variable) ([]byte, error) {
	f, err := variables.Open(v.EFIName())
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxVariableBytes+1))
	if err != nil {
		return nil, err
	}
	if len(data) < variableAttributeBytes || len(data) > maxVariableBytes {
		return nil, fmt.Errorf("it has %d bytes, want %d to %d", len(data), variableAttributeBytes, maxVariableBytes)
	}
	return data[variableAttributeBytes:], nil
}

// ErrRefused says that a machine's firmware would not start a program.
var ErrRefused = errors.New("the firmware has Secure Boot on and would not start it")

// Starts says whether the firmware would start an EFI program, and if not, why.
func (f Firmware) Starts(r Program) error {
	if !f.On {
		return nil
	}
	p, err := readProgram(r)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	switch {
	case f.DBX.HasProgram(p.hash):
		return fmt.Errorf("%w: its hash %x is in dbx, of what was withdrawn", ErrRefused, p.hash)
	case f.DB.HasProgram(p.hash):
		return nil
	case p.signer == nil:
		return fmt.Errorf("%w: %w", ErrRefused, ErrUnsigned)
	}
	return f.trusts(p)
}

// trusts follows the certificates of a program from its signer to one that the firmware trusts. Like firmware it goes by no clock.
func (f Firmware) trusts(p checked) error {
	opts := x509.VerifyOptions{
		Roots: x509.NewCertPool(), Intermediates: x509.NewCertPool(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
		CurrentTime: p.signer.NotBefore,
	}
	for _, c := range f.DB.Certificates() {
		opts.Roots.AddCert(c)
	}
	for _, c := range p.others {
		opts.Intermediates.AddCert(c)
	}
	chains, err := p.signer.Verify(opts)
	if err != nil {
		return fmt.Errorf("%w: it is signed by %q, which is not in db, and by no certificate that is: %w", ErrRefused, p.signer.Subject, err)
	}
	for _, chain := range chains {
		if !withdrawn(f.DBX, chain) {
			return nil
		}
	}
	return fmt.Errorf("%w: the certificate of its signer %q is in dbx, of what was withdrawn", ErrRefused, p.signer.Subject)
}

func withdrawn(dbx Database, chain []*x509.Certificate) bool {
	for _, c := range chain {
		if dbx.HasCertificate(c) {
			return true
		}
	}
	return false
}
