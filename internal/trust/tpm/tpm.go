package tpm

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"
	"github.com/google/go-tpm/tpm2/transport/linuxtpm"

	"github.com/cyvive/cyvive/internal/trust/pcr"
)

// Device is the kernel's resource manager of the first TPM: it keeps users apart and cleans up after those that end (Linux 4.12).
const Device = "/dev/tpmrm0"

// TPM is an open TPM. It is not for concurrent use.
type TPM struct{ transport transport.TPMCloser }

// Open opens the device of a TPM. ErrNone means that there is none.
func Open(device string) (*TPM, error) {
	t, err := linuxtpm.Open(device)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, linuxtpm.ErrFileIsNotDevice) {
		return nil, fmt.Errorf("open TPM: %w (%w); turn it on in the firmware's setup", ErrNone, err)
	}
	if err != nil {
		return nil, fmt.Errorf("open TPM: %w", err)
	}
	return New(t), nil
}

// New returns the TPM at the other end of a transport, which it takes over.
func New(t transport.TPMCloser) *TPM { return &TPM{transport: t} }

// Close gives the TPM up for others.
func (t *TPM) Close() error { return t.transport.Close() }

// Values reads registers.
func (t *TPM) Values(numbers ...int) (pcr.Values, error) {
	values := pcr.Values{}
	// One command returns some of what is asked for, eight registers as a rule.
	for len(values) < len(numbers) {
		var left []int
		for _, n := range numbers {
			if _, ok := values[n]; !ok {
				left = append(left, n)
			}
		}
		before := len(values)
		rsp, err := tpm2.PCRRead{PCRSelectionIn: pcr.Selection(left)}.Execute(t.transport)
		if err != nil {
			return nil, explain("read PCRs", err)
		}
		if err := take(values, rsp); err != nil {
			return nil, fmt.Errorf("read PCRs: %w", err)
		}
		if len(values) == before {
			return nil, fmt.Errorf("read PCRs %v: %w", left, ErrBank)
		}
	}
	return values, nil
}

// take adds the registers of an answer to values.
func take(values pcr.Values, rsp *tpm2.PCRReadResponse) error {
	digests := rsp.PCRValues.Digests
	for _, s := range rsp.PCRSelectionOut.PCRSelections {
		if s.Hash != tpm2.TPMAlgSHA256 {
			continue
		}
		for n := range len(s.PCRSelect) * 8 {
			if s.PCRSelect[n/8]&(1<<(n%8)) == 0 {
				continue
			}
			if len(digests) == 0 || len(digests[0].Buffer) != len(pcr.Digest{}) {
				return errors.New("the answer does not fit its own list of registers")
			}
			values[n], digests = pcr.Digest(digests[0].Buffer), digests[1:]
		}
	}
	return nil
}

// State is what a TPM says of itself.
type State struct {
	// Manufacturer is its four letters, such as IFX.
	Manufacturer string
	// LockedOut says that passwords are refused for now; the node uses none. Tries is how many wrong ones are counted, and Recovery after how long
	// one is forgotten.
	LockedOut bool
	Tries     int
	Recovery  time.Duration
	// PCRs are the registers 0 to 15.
	PCRs pcr.Values
}

// inLockout is a bit of TPMA_PERMANENT (TPM 2.0 Library, part 2, 8.6).
const inLockout = 1 << 9

// State asks for it.
func (t *TPM) State() (State, error) {
	var s State
	var err error
	property := func(p tpm2.TPMPT) (value uint32) {
		if err == nil {
			value, err = t.property(p)
		}
		return value
	}
	var letters [4]byte
	binary.BigEndian.PutUint32(letters[:], property(tpm2.TPMPTManufacturer))
	for _, c := range letters {
		if c > ' ' && c < 0x7f {
			s.Manufacturer += string(rune(c))
		}
	}
	s.LockedOut = property(tpm2.TPMPTPermanent)&inLockout != 0
	s.Tries = int(property(tpm2.TPMPTLockoutCounter))
	s.Recovery = time.Duration(property(tpm2.TPMPTLockoutInterval)) * time.Second
	if err != nil {
		return State{}, err
	}
	var all []int
	for n := range 16 {
		all = append(all, n)
	}
	s.PCRs, err = t.Values(all...)
	return s, err
}

func (t *TPM) property(p tpm2.TPMPT) (uint32, error) {
	rsp, err := tpm2.GetCapability{Capability: tpm2.TPMCapTPMProperties, Property: uint32(p), PropertyCount: 1}.Execute(t.transport)
	if err != nil {
		return 0, explain("ask TPM for its properties", err)
	}
	list, err := rsp.CapabilityData.Data.TPMProperties()
	if err != nil || len(list.TPMProperty) == 0 || list.TPMProperty[0].Property != p {
		return 0, fmt.Errorf("ask TPM for its properties: it does not know %#x", uint32(p))
	}
	return list.TPMProperty[0].Value, nil
}

// capEvent is what Cap measures.
const capEvent = "cyvive: the volumes were opened"

// Cap extends the register of the kernel image in all banks: nothing sealed under a signed policy is unsealed any more in this boot.
func (t *TPM) Cap() error {
	_, err := tpm2.PCREvent{
		PCRHandle: tpm2.AuthHandle{Handle: tpm2.TPMHandle(pcr.Kernel), Auth: tpm2.PasswordAuth(nil)},
		EventData: tpm2.TPM2BEvent{Buffer: []byte(capEvent)},
	}.Execute(t.transport)
	return explain(fmt.Sprintf("cap PCR %d", pcr.Kernel), err)
}

// flush forgets an object. The kernel's resource manager would do so at Close; a TPM without one has room for three.
func (t *TPM) flush(h tpm2.TPMHandle) {
	_, _ = tpm2.FlushContext{FlushHandle: h}.Execute(t.transport) // there is nothing else to be done about it
}
