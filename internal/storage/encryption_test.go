package storage_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cyvive/cyvive/internal/storage"
	"github.com/cyvive/cyvive/internal/storagetest"
)

// sealedSpec is the layout of a node with a TPM, with volumes that are made in a mode.
func sealedSpec(mode storage.Mode) storage.Spec {
	spec := storage.DefaultSpec("/dev/vda")
	spec.Cap = true
	for i := range spec.Volumes {
		spec.Volumes[i].Encryption.Mode = mode
	}
	return spec
}

func firstSealedBoot() []string {
	ops := []string{
		"make encrypted volume on state (/dev/vda6)",
		"unlock state (/dev/vda6)",
		"have the TPM give out no more keys",
		"record state of state: clean", "make file system on state (/dev/mapper/state)", "mount state (/dev/mapper/state)",
		"make directory /state", "give a recovery key to state (/dev/vda6)",
		"grow partition data (/dev/vda7)", "make encrypted volume on data (/dev/vda7)",
		"unlock data (/dev/vda7)",
		"record state of data: clean", "make pool on data (/dev/mapper/data)",
	}
	return append(append(ops, firstDatasets()...), "give a recovery key to data (/dev/vda7)")
}

// keyless is a machine whose state volume was opened by an agent that has ended.
type keyless struct{ *storagetest.Machine }

var errKeyless = errors.New("the next boot knows it again")

func (keyless) Enrol(context.Context, string, string) error { return errKeyless }

// TestEnrolFails: an agent that cannot give state its recovery key makes data and mounts it all the same, and says what failed. The next boot gives both one.
func TestEnrolFails(t *testing.T) {
	machine := storagetest.New(10 << 30)
	broken := keyless{machine}
	domain, spec := storage.New(machine, machine, machine, broken), sealedSpec(storage.TPM)
	whole := firstSealedBoot()
	for _, want := range [][]string{whole[:7], whole[8 : len(whole)-1], nil} {
		applied, _, err := pass(t, domain, spec)
		if d := cmp.Diff(want, applied); d != "" || !errors.Is(err, errKeyless) {
			t.Errorf("%v (-want +got):\n%s", err, d)
		}
	}
	_, status, err := pass(t, domain, spec)
	if !errors.Is(err, errKeyless) || !status.Ready || !status.DataMounted || status.Volumes[0].Enrolled {
		t.Errorf("the next pass: %v, %+v", err, status)
	}
	machine.Boot(true)
	applied, status, err := pass(t, storage.New(machine, machine, machine, machine), spec)
	if err != nil || !status.Volumes[0].Enrolled || !status.Volumes[1].Enrolled || !slices.Contains(applied, "give a recovery key to state (/dev/vda6)") {
		t.Errorf("the next boot: %v, %v, %+v", err, applied, status)
	}
}

// fragile is a machine that makes no encrypted volume beside state, and the first times gives none a recovery key.
type fragile struct {
	*storagetest.Machine
	enrols int // in vain
}

var errFragile = errors.New("input/output error")

func (f *fragile) Encrypt(ctx context.Context, volume, device string, how storage.Encryption) error {
	if volume != storage.State {
		return errFragile
	}
	return f.Machine.Encrypt(ctx, volume, device, how)
}

func (f *fragile) Enrol(ctx context.Context, volume, device string) error {
	if f.enrols > 0 {
		f.enrols--
		return errKeyless
	}
	return f.Machine.Enrol(ctx, volume, device)
}

// TestDataFails: state has its recovery key whatever is wrong with data, also when the first attempts to give it one fail.
func TestDataFails(t *testing.T) {
	for enrols := range 3 {
		f, spec := &fragile{storagetest.New(10 << 30), enrols}, sealedSpec(storage.TPM)
		domain := storage.New(f, f, f, f)
		// Each attempt in vain ends a pass, and has data tried in the next.
		for n := range 2*enrols + 1 {
			want := errFragile
			if n < 2*enrols && n%2 == 0 {
				want = errKeyless
			}
			if _, _, err := pass(t, domain, spec); !errors.Is(err, want) {
				t.Errorf("%d attempts in vain, pass %d: got %v, want %v", enrols, n, err, want)
			}
		}
		obs, err := domain.Observe(t.Context(), spec)
		if err != nil || !obs.Volumes[storage.State].Crypt.Enrolled || obs.Volumes[storage.Data].Mounted {
			t.Errorf("%d attempts in vain: %v, %+v", enrols, err, obs.Volumes)
		}
	}
}

func TestEncryptedBoots(t *testing.T) {
	machine := storagetest.New(10 << 30)
	domain, spec := storage.New(machine, machine, machine, machine), sealedSpec(storage.TPM)
	applied, status, err := pass(t, domain, spec)
	if d := cmp.Diff(firstSealedBoot(), applied); d != "" || err != nil {
		t.Errorf("first boot: %v (-want +got):\n%s", err, d)
	}
	if !status.Ready || !status.Volumes[0].Encrypted || !status.Volumes[1].Enrolled {
		t.Errorf("status of the first boot: %+v", status)
	}
	again := []string{
		"unlock state (/dev/vda6)", "have the TPM give out no more keys", "record state of state: clean", "mount state (/dev/mapper/state)",
		"unlock data (/dev/vda7)", "record state of data: clean", "import pool of data (/dev/mapper/data)",
	}
	again = append(again, laterDatasets()...)
	// How volumes are made has no say in how those that are there are opened.
	for _, mode := range []storage.Mode{storage.TPM, storage.Undecided, storage.Plain} {
		machine.Boot(true)
		applied, status, err := pass(t, domain, sealedSpec(mode))
		if d := cmp.Diff(again, applied); d != "" || err != nil || !status.Ready {
			t.Errorf("mode %q: %v, %q (-want +got):\n%s", mode, err, status.Reason, d)
		}
	}
	machine.Boot(false)
	applied, _, err = pass(t, domain, spec)
	if err != nil || !slices.Contains(applied, "record state of data: unclean") {
		t.Errorf("after a power cut: %v, %v", applied, err)
	}
}

// TestUndecided: the disk of a node that has no configuration yet is left as it is.
func TestUndecided(t *testing.T) {
	machine := storagetest.New(10 << 30)
	domain := storage.New(machine, machine, machine, machine)
	applied, status, err := pass(t, domain, sealedSpec(storage.Undecided))
	const reason = "volume state is made when the configuration is known"
	if len(applied) != 0 || err != nil || status.Ready || !status.StateUndecided || !strings.Contains(status.Reason, reason) {
		t.Errorf("applied %v, %v: %q", applied, err, status.Reason)
	}
	if applied, _, err := pass(t, domain, sealedSpec(storage.TPM)); err != nil || cmp.Diff(firstSealedBoot(), applied) != "" {
		t.Errorf("with a configuration: %v, %v", applied, err)
	}
	machine = storagetest.New(10 << 30)
	domain = storage.New(machine, machine, machine, machine)
	if _, _, err := pass(t, domain, sealedSpec(storage.Undecided)); err != nil {
		t.Fatal(err)
	}
	want := append([]string{"have the TPM give out no more keys"}, firstBoot()...)
	if applied, status, err := pass(t, domain, sealedSpec(storage.Plain)); err != nil || !status.Ready || cmp.Diff(want, applied) != "" {
		t.Errorf("with a configuration without encryption: %v, %v", applied, err)
	}
}

// TestHeld: data is not begun before the configuration is on state, nor is its key; where it is there already nothing is held.
func TestHeld(t *testing.T) {
	machine := storagetest.New(10 << 30)
	domain, spec := storage.New(machine, machine, machine, machine), sealedSpec(storage.TPM)
	spec.Volumes[1].Encryption.Held = true
	want := firstSealedBoot()[:8]
	applied, status, err := pass(t, domain, spec)
	if d := cmp.Diff(want, applied); d != "" || err != nil {
		t.Errorf("held: %v (-want +got):\n%s", err, d)
	}
	if status.Ready || !status.StateMounted || status.Reason != "volume data is made when the configuration is stored on volume state" {
		t.Errorf("held: %+v", status)
	}
	spec.Volumes[1].Encryption.Held = false
	if _, status, err := pass(t, domain, spec); err != nil || !status.Ready {
		t.Errorf("then: %v, %+v", err, status)
	}
	machine.Boot(true)
	spec.Volumes[1].Encryption.Held = true
	if _, status, err := pass(t, domain, spec); err != nil || !status.Ready {
		t.Errorf("the next boot: %v, %+v", err, status)
	}
}

// TestPlainStaysPlain: a node whose volumes are not encrypted goes on as it did and is ready, with a TPM and whatever the configuration says, and says so of each.
func TestPlainStaysPlain(t *testing.T) {
	machine := storagetest.New(0)
	domain := storage.New(machine, machine, machine, machine)
	if _, _, err := pass(t, domain, storage.DefaultSpec("/dev/vda")); err != nil {
		t.Fatal(err)
	}
	const text = "volume %s is not encrypted, as the configuration has it, and holds data; a reset makes it anew"
	for mode, says := range map[storage.Mode]bool{
		storage.Plain: false, storage.Undecided: false, storage.TPM: true, storage.KMS: true, storage.Passphrase: true,
	} {
		machine.Boot(true)
		applied, status, err := pass(t, domain, sealedSpec(mode))
		want := []string{
			"have the TPM give out no more keys",
			"record state of state: clean", "mount state (/dev/vda6)", "record state of data: clean", "import pool of data (/dev/vda7)",
		}
		want = append(want, laterDatasets()...)
		if d := cmp.Diff(want, applied); d != "" || err != nil || !status.Ready || status.Reason != "" || !status.DataMounted {
			t.Errorf("mode %q: %v, %q (-want +got):\n%s", mode, err, status.Reason, d)
		}
		for _, v := range status.Volumes {
			if reason := fmt.Sprintf(text, v.Name); says != (v.Reason == reason) || !says && v.Reason != "" {
				t.Errorf("mode %q: volume %s says %q", mode, v.Name, v.Reason)
			}
		}
	}
}

// TestPlainDataBesideEncryptedState: such a volume was put there, and the node does not go on with it, neither before it has read its configuration nor then. Where
// that has no encryption it does.
func TestPlainDataBesideEncryptedState(t *testing.T) {
	for _, mode := range allModes {
		machine := storagetest.New(0)
		domain := storage.New(machine, machine, machine, machine)
		if _, _, err := pass(t, domain, sealedSpec(mode)); err != nil {
			t.Fatal(err)
		}
		machine.Boot(true)
		machine.SetContents("/dev/vda7", storage.Contents{
			Signature: storage.PoolMember, Pool: storage.PoolLabel{Name: storage.PoolName, GUID: 1, Exported: true},
		})
		for _, c := range []struct {
			mode   storage.Mode
			reason string
		}{
			{storage.Undecided, "volume data is not encrypted, as volume state is"}, {mode, "volume data is not encrypted, as the configuration has it"},
			{storage.Plain, ""},
		} {
			_, status, err := pass(t, domain, sealedSpec(c.mode))
			if err != nil || status.Ready != (c.reason == "") || !strings.HasPrefix(status.Reason, c.reason) || !status.StateMounted {
				t.Errorf("made as %q, mode %q: %v, %+v", mode, c.mode, err, status)
			}
		}
	}
}

// TestWithoutTPM: nothing is made plain that was to be encrypted, and nothing is opened.
func TestWithoutTPM(t *testing.T) {
	machine := storagetest.New(0)
	spec := sealedSpec(storage.TPM)
	spec.Cap = false
	applied, _, err := pass(t, storage.New(machine, machine, machine, nil), spec)
	if len(applied) != 0 || err == nil || !strings.Contains(err.Error(), "no TPM 2.0") {
		t.Errorf("a blank disk: %v, %v", applied, err)
	}
	if _, _, err := pass(t, storage.New(machine, machine, machine, machine), sealedSpec(storage.TPM)); err != nil {
		t.Fatal(err)
	}
	machine.Boot(true)
	applied, _, err = pass(t, storage.New(machine, machine, machine, nil), storage.DefaultSpec("/dev/vda"))
	if len(applied) != 0 || err == nil || !strings.Contains(err.Error(), "unlock state") {
		t.Errorf("an encrypted disk: %v, %v", applied, err)
	}
}

// TestChangedMachine: a state volume that does not open stays as it is, data too, and the TPM is told to give out nothing all the same.
func TestChangedMachine(t *testing.T) {
	machine := storagetest.New(0)
	domain, spec := storage.New(machine, machine, machine, machine), sealedSpec(storage.TPM)
	if _, _, err := pass(t, domain, spec); err != nil {
		t.Fatal(err)
	}
	before := machine.String()
	machine.ChangePCRs(true)
	machine.Boot(true)
	applied, status, err := pass(t, domain, spec)
	if d := cmp.Diff([]string{"unlock state (/dev/vda6)", "have the TPM give out no more keys"}, applied); d != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, d)
	}
	reason := "partition state (/dev/vda6) is encrypted and does not open: PCR 11 is another; volume data has its key on volume state, which is not mounted"
	if status.Ready || status.Reason != reason {
		t.Errorf("reason %q\nwant   %q", status.Reason, reason)
	}
	// Somebody opens it with the recovery key, and the node goes on from there.
	machine.Recover(storage.State, "/dev/vda6")
	if _, status, err := pass(t, domain, spec); err != nil || !status.Ready {
		t.Errorf("with the recovery key: %v, %+v", err, status)
	}
	machine.ChangePCRs(false)
	machine.Boot(true)
	if _, status, err := pass(t, domain, spec); err != nil || !status.Ready {
		t.Errorf("the next boot: %v, %+v", err, status)
	}
	if d := cmp.Diff(before, machine.String()); d != "" {
		t.Errorf("after it (-before +after):\n%s", d)
	}
}

// TestFalseState puts volumes of somebody else's in the place of state: data stays shut, whatever they are, and nothing is unsealed after one was read.
func TestFalseState(t *testing.T) {
	plain := storage.Contents{Signature: storage.FileSystem, Clean: true}
	for name, state := range map[string]storage.Contents{"blank": {Blank: true}, "plain": plain, "damaged": {Signature: "a damaged LUKS volume"}} {
		for _, mode := range []storage.Mode{storage.Undecided, storage.Plain} {
			for _, made := range allModes {
				checkFalseState(t, fmt.Sprintf("%s, made with %s, mode %q", name, made, mode), made, mode, state)
			}
		}
	}
}

// checkFalseState boots a machine whose disk was made in a mode with something else in the place of its state volume.
func checkFalseState(t *testing.T, name string, made, mode storage.Mode, state storage.Contents) {
	t.Helper()
	machine := storagetest.New(0)
	domain := storage.New(machine, machine, machine, machine)
	if _, _, err := pass(t, domain, sealedSpec(made)); err != nil {
		t.Fatal(err)
	}
	machine.Boot(true)
	machine.SetContents("/dev/vda6", state)
	applied, _, _ := pass(t, domain, sealedSpec(mode))
	at := slices.Index(applied, "have the TPM give out no more keys")
	if i := slices.IndexFunc(applied, func(op string) bool { return strings.HasPrefix(op, "mount state") }); i >= 0 && (at < 0 || at > i) {
		t.Errorf("%s: state was mounted before the cap: %v", name, applied)
	}
	if strings.Contains(machine.String(), "encrypted data") || slices.Contains(applied, "import pool of data (/dev/mapper/data)") {
		t.Errorf("%s: data was opened: %v", name, applied)
	}
	if mode == storage.Undecided && state.Blank {
		return // nothing is made, and nothing read
	}
	if at < 0 || machine.Leaked() > 0 {
		t.Errorf("%s: no cap, or %d keys after it: %v", name, machine.Leaked(), applied)
	}
}

// TestEncryptRefuses: what holds data is not made into an encrypted volume.
func TestEncryptRefuses(t *testing.T) {
	for name, contents := range map[string]storage.Contents{"ntfs": {Signature: "ntfs"}, "unknown data": {}} {
		machine := storagetest.New(0)
		machine.SetContents("/dev/vda7", contents)
		applied, status, err := pass(t, storage.New(machine, machine, machine, machine), sealedSpec(storage.TPM))
		if err != nil || status.Ready || !strings.Contains(status.Reason, "it is left alone") {
			t.Errorf("%s: %v, %q", name, err, status.Reason)
		}
		if slices.ContainsFunc(applied, func(op string) bool { return strings.Contains(op, "data") }) {
			t.Errorf("%s: %v", name, applied)
		}
	}
	// Inside of an encrypted volume the same holds.
	machine := storagetest.New(0)
	domain, spec := storage.New(machine, machine, machine, machine), sealedSpec(storage.TPM)
	if _, _, err := pass(t, domain, spec); err != nil {
		t.Fatal(err)
	}
	machine.Boot(true)
	machine.SetContents("/dev/mapper/data", storage.Contents{})
	applied, status, err := pass(t, domain, spec)
	want := "encrypted volume data (/dev/mapper/data) holds data without a known file system, expected zfs or blank; it is left alone"
	if err != nil || status.Reason != want || slices.Contains(applied, "make pool on data (/dev/mapper/data)") {
		t.Errorf("%v, %q: %v", err, status.Reason, applied)
	}
}

// TestEncryptedGrows: partition, volume and file system, one after the other.
func TestEncryptedGrows(t *testing.T) {
	machine := storagetest.New(0)
	domain, spec := storage.New(machine, machine, machine, machine), sealedSpec(storage.TPM)
	if _, _, err := pass(t, domain, spec); err != nil {
		t.Fatal(err)
	}
	machine.GrowDisk(10 << 30)
	applied, status, err := pass(t, domain, spec)
	want := []string{"grow partition data (/dev/vda7)", "grow encrypted volume data (/dev/mapper/data)", "grow pool of data (/dev/mapper/data)",
		"set properties of dataset node/var: refreservation=540016640", "set properties of dataset node/etcd: refreservation=1080033280",
		"set properties of dataset node/log: quota=1080033280", "set properties of dataset node/plane: quota=7516192768",
	}
	if d := cmp.Diff(want, applied); d != "" || err != nil || !status.Ready {
		t.Errorf("%v, %q (-want +got):\n%s", err, status.Reason, d)
	}
}

// TestEncryptedPowerCuts cuts the power in every operation of the first boot, and in every one of the boot after.
func TestEncryptedPowerCuts(t *testing.T) {
	spec := sealedSpec(storage.TPM)
	whole := storagetest.New(10 << 30)
	if _, _, err := pass(t, storage.New(whole, whole, whole, whole), spec); err != nil {
		t.Fatal(err)
	}
	for cut := range firstSealedBoot() {
		for second := range 8 {
			machine := storagetest.New(10 << 30)
			domain := storage.New(machine, machine, machine, machine)
			for _, at := range []int{cut, second} {
				machine.FailPower(at)
				if _, _, err := pass(t, domain, spec); err != nil && !errors.Is(err, storagetest.ErrPower) {
					t.Fatalf("cuts %d, %d: %v", cut, second, err)
				}
				machine.Boot(false)
			}
			if _, status, err := pass(t, domain, spec); err != nil || !status.Ready {
				t.Fatalf("boot after cuts %d, %d: %v, %+v", cut, second, err, status)
			}
			if d := cmp.Diff(whole.String(), machine.String()); d != "" || machine.Leaked() > 0 {
				t.Errorf("after cuts %d, %d: %d keys after the cap (-whole +cut):\n%s", cut, second, machine.Leaked(), d)
			}
		}
	}
}

// TestInterruptedThenPlain: a volume that was begun and never finished holds nothing, so another mode may make it.
func TestInterruptedThenPlain(t *testing.T) {
	machine := storagetest.New(0)
	domain := storage.New(machine, machine, machine, machine)
	machine.FailPower(0)
	if _, _, err := pass(t, domain, sealedSpec(storage.TPM)); !errors.Is(err, storagetest.ErrPower) {
		t.Fatal(err)
	}
	machine.Boot(false)
	if _, status, err := pass(t, domain, sealedSpec(storage.Plain)); err != nil || !status.Ready || status.Volumes[0].Encrypted {
		t.Errorf("%v, %+v", err, status)
	}
}

// otherModes are those in which something else than the TPM opens the disk, allModes those in which it is encrypted.
var (
	otherModes = []storage.Mode{storage.KMS, storage.Passphrase}
	allModes   = []storage.Mode{storage.TPM, storage.KMS, storage.Passphrase}
)

// TestOtherKeys: where the TPM is not asked, it is told to give out nothing before anything else is done; and a machine without one needs none.
func TestOtherKeys(t *testing.T) {
	const limit = "have the TPM give out no more keys"
	without := func(ops []string) []string {
		return slices.DeleteFunc(slices.Clone(ops), func(op string) bool { return op == limit })
	}
	for _, mode := range otherModes {
		for _, tpm := range []bool{true, false} {
			machine := storagetest.New(10 << 30)
			domain, spec := storage.New(machine, machine, machine, machine), sealedSpec(mode)
			spec.Cap = tpm
			want, again := without(firstSealedBoot()), []string{
				"unlock state (/dev/vda6)", "record state of state: clean", "mount state (/dev/mapper/state)",
				"unlock data (/dev/vda7)", "record state of data: clean", "import pool of data (/dev/mapper/data)",
			}
			again = append(again, laterDatasets()...)
			if tpm {
				want, again = append([]string{limit}, want...), append([]string{limit}, again...)
			}
			applied, status, err := pass(t, domain, spec)
			if d := cmp.Diff(want, applied); d != "" || err != nil || !status.Ready || !status.Volumes[1].Encrypted {
				t.Errorf("%s, TPM %t: first boot: %v, %q (-want +got):\n%s", mode, tpm, err, status.Reason, d)
			}
			// How it opens is on the disk; what the configuration says, or that there is none yet, has no say in it.
			for _, later := range []storage.Mode{mode, storage.Undecided, storage.Plain, storage.TPM} {
				machine.Boot(true)
				spec := sealedSpec(later)
				spec.Cap = tpm
				applied, status, err := pass(t, domain, spec)
				if d := cmp.Diff(again, applied); d != "" || err != nil || !status.Ready || machine.Leaked() > 0 {
					t.Errorf("%s, TPM %t, then %q: %v, %q (-want +got):\n%s", mode, tpm, later, err, status.Reason, d)
				}
			}
		}
	}
}

// TestAwaitsKey: a volume whose key is not to be had says what it waits for, stays as it is, and opens by itself once the key is there; or by a person.
func TestAwaitsKey(t *testing.T) {
	for _, mode := range otherModes {
		for _, person := range []bool{false, true} {
			machine := storagetest.New(0)
			domain, spec := storage.New(machine, machine, machine, machine), sealedSpec(mode)
			machine.Missing("the key server is away")
			applied, status, err := pass(t, domain, spec)
			if err == nil || !strings.Contains(err.Error(), "is away") || slices.Contains(applied, "unlock state (/dev/vda6)") || status.Volumes[0].Encrypted {
				t.Errorf("%s: a volume was made: %v, %v", mode, applied, err)
			}
			machine.Missing("")
			if _, _, err := pass(t, domain, spec); err != nil {
				t.Fatal(err)
			}
			before := machine.String()
			machine.Missing("the key server is away")
			machine.Boot(true)
			for range 5 { // however often it is tried
				if _, _, err = pass(t, domain, spec); err == nil || !strings.Contains(err.Error(), "is away") {
					t.Errorf("%s: %v", mode, err)
				}
			}
			_, status, _ = pass(t, domain, spec)
			reason := "partition state (/dev/vda6) is encrypted and waits for its key: the key server is away; " +
				"volume data has its key on volume state, which is not mounted"
			if status.Reason != reason || status.StateAwaits != "the key server is away" || !status.Volumes[0].Shut || status.Volumes[0].Refused || status.Volumes[1].Shut {
				t.Errorf("%s: reason %q\nwant   %q; %+v", mode, status.Reason, reason, status)
			}
			if capped, err := machine.Capped(); !capped || err != nil {
				t.Errorf("%s: the TPM gives out keys meanwhile: %v", mode, err)
			}
			if status.StateOpens {
				t.Errorf("%s: it is said to be open: %+v", mode, status)
			}
			if person {
				machine.Recover(storage.State, "/dev/vda6")
				if status := look(t, domain, spec); !status.StateOpens || status.StateAwaits != "" || status.StateMounted {
					t.Errorf("%s: it is not said to be open: %+v", mode, status)
				}
			} else {
				machine.Missing("")
			}
			if _, status, err = pass(t, domain, spec); err != nil || !status.Ready || status.StateAwaits != "" || status.StateOpens || status.Volumes[0].Shut {
				t.Errorf("%s, opened by a person %t: %v, %+v", mode, person, err, status)
			}
			if d := cmp.Diff(before, machine.String()); d != "" {
				t.Errorf("%s: after it (-before +after):\n%s", mode, d)
			}
		}
	}
}

// look sums up what is there, and changes nothing.
func look(t *testing.T, domain *storage.Reconciler, spec storage.Spec) storage.Status {
	t.Helper()
	obs, err := domain.Observe(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	return domain.Status(spec, obs)
}

// TestSealedOtherwise: a state volume that was sealed at another key server than the configuration has, or with other certificates, is used, and it is said what the next
// boot would go by.
func TestSealedOtherwise(t *testing.T) {
	at := storage.KeyServer{Endpoint: "https://kms.example:4050", CA: "one", Certificate: "node", Key: storage.NewSecret("hunter2")}
	made := storage.Encryption{Mode: storage.KMS, Server: at}
	others := map[string]storage.Encryption{"another mode": {Mode: storage.TPM}, "none yet": {Mode: storage.Undecided}}
	for name, change := range map[string]func(*storage.KeyServer){
		"the same": func(*storage.KeyServer) {}, "another server": func(s *storage.KeyServer) { s.Endpoint = "https://kms2.example" },
		"another authority": func(s *storage.KeyServer) { s.CA = "two" }, "another certificate": func(s *storage.KeyServer) { s.Certificate = "node2" },
		"another key": func(s *storage.KeyServer) { s.Key = storage.NewSecret("hunter3") },
	} {
		e := made
		change(&e.Server)
		others[name] = e
	}
	for name, later := range others {
		machine := storagetest.New(0)
		domain := storage.New(machine, machine, machine, machine)
		for _, e := range []storage.Encryption{made, later} {
			spec := sealedSpec(storage.KMS)
			for i := range spec.Volumes {
				spec.Volumes[i].Encryption = e
			}
			_, status, err := pass(t, domain, spec)
			if err != nil || !status.Ready {
				t.Fatalf("%s: %v, %+v", name, err, status)
			}
			reason, says := status.Volumes[0].Reason, "volume state was sealed at the key server https://kms.example:4050, and the configuration has another"
			if said := strings.HasPrefix(reason, says); said != (e.Mode == storage.KMS && e.Server != at) || !said && reason != "" || status.Volumes[1].Reason != "" {
				t.Errorf("%s: volumes are said to be %q and %q", name, reason, status.Volumes[1].Reason)
			}
		}
	}
}

// TestUnnotedIsTold: that a recovery key waits to be noted is said of the state volume, also beside what else is; the storage is ready.
func TestUnnotedIsTold(t *testing.T) {
	machine := storagetest.New(0)
	domain := storage.New(machine, machine, machine, machine)
	spec := sealedSpec(storage.KMS)
	if _, status, err := pass(t, domain, spec); err != nil || status.Volumes[0].Unnoted || status.Volumes[0].Reason != "" {
		t.Fatalf("before: %+v, %v", status, err)
	}
	machine.Unnoted(true)
	for i := range spec.Volumes {
		spec.Volumes[i].Encryption.Server.Endpoint = "https://kms2.example"
	}
	_, status, err := pass(t, domain, spec)
	if err != nil || !status.Ready || !status.Volumes[0].Unnoted {
		t.Fatalf("it waits: %+v, %v", status, err)
	}
	if reason := status.Volumes[0].Reason; !strings.HasPrefix(reason, "volume state was sealed at") || !strings.HasSuffix(reason, "; "+storage.Unnoted) {
		t.Errorf("state is said to be %q", reason)
	}
	if reason := status.Volumes[1].Reason; reason != "" || status.Volumes[1].Unnoted {
		t.Errorf("data is said to be %q", reason)
	}
}

// TestSecretsDoNotShow: an encryption is printed without what opens the disk.
func TestSecretsDoNotShow(t *testing.T) {
	e := storage.Encryption{Mode: storage.KMS, Server: storage.KeyServer{Key: storage.NewSecret("hunter2")}, Passphrase: storage.NewSecret("hunter2")}
	if shown := fmt.Sprintf("%v %+v %#v %x %s", e, e, e, e.Passphrase, e.Server.Key.LogValue()); strings.Contains(shown, "hunter2") || strings.Contains(shown, "68756e74") {
		t.Errorf("it shows: %s", shown)
	}
	if e.Passphrase.Reveal() != "hunter2" || !e.Passphrase.Equal(e.Server.Key) || e.Passphrase.Equal(storage.Secret{}) {
		t.Error("the secret is lost")
	}
}
