package volumes

import (
	"bytes"
	"crypto/rand"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cyvive/cyvive/internal/storage"
	"github.com/cyvive/cyvive/internal/storage/luks"
	"github.com/cyvive/cyvive/internal/trust/kms"
	"github.com/cyvive/cyvive/internal/trust/kmstest"
	"github.com/cyvive/cyvive/internal/trust/passphrase"
	"github.com/cyvive/cyvive/internal/trust/recovery"
	"github.com/cyvive/cyvive/internal/trust/wrap"
)

const goodPassphrase = "correct horse battery staple"

// server is a key server, as a node is told of it.
func server(s *kmstest.Server) storage.KeyServer {
	return storage.KeyServer{Endpoint: "https://" + s.Address(), CA: s.CA()}
}

// atServer is a node without a TPM whose disk a key server opens.
func atServer(t *testing.T) (*node, *kmstest.Server) {
	t.Helper()
	n, s := newDisks(t), kmstest.New(t, nil)
	n.server, n.how = s, storage.Encryption{Mode: storage.KMS, Server: server(s)}
	n.makeVolumes()
	return n, s
}

// byPassphrase is one whose disk a passphrase opens.
func byPassphrase(t *testing.T) *node {
	t.Helper()
	n := newDisks(t)
	n.how = storage.Encryption{Mode: storage.Passphrase, Passphrase: storage.NewSecret(goodPassphrase)}
	n.makeVolumes()
	return n
}

// tries has an attempt to open the state volume fail, and wants it to be worth another one.
func (n *node) tries(v *Volumes, is error, says string) {
	n.t.Helper()
	for range maxFailures + 2 {
		if err := v.Unlock(n.t.Context(), storage.State, n.device(storage.State), n.how); !errors.Is(err, is) || !strings.Contains(err.Error(), says) {
			n.t.Errorf("got %v, want %q in it", err, says)
		}
	}
	if s := n.look(v, storage.State); s.Refused != "" || s.Mapped.Device != "" || !strings.Contains(s.Waits, says) {
		n.t.Errorf("after it: %+v", s)
	}
}

// TestOtherWays: both open with every boot and every release, have their keys changed, and are no matter of the image.
func TestOtherWays(t *testing.T) {
	t.Parallel()
	for mode, begin := range map[storage.Mode]func(*testing.T) *node{
		storage.KMS: func(t *testing.T) *node {
			n, _ := atServer(t)
			return n
		},
		storage.Passphrase: byPassphrase,
	} {
		t.Run(string(mode), func(t *testing.T) {
			t.Parallel()
			n := begin(t)
			r, err := n.agent().RecoveryKey()
			if err != nil {
				t.Fatal(err)
			}
			for _, release := range []string{"release 1", "release 3"} {
				if s := n.look(n.boots(release), storage.State); s.By != mode || s.Waits != "" {
					t.Errorf("%s: %+v", release, s)
				}
			}
			for _, volume := range []string{storage.State, storage.Data} {
				before := n.files()[filepath.Join(n.dir, "state/keys", volume)]
				if err := n.agent().Rotate(t.Context(), volume, n.device(volume), n.how); err != nil {
					t.Fatal(err)
				}
				n.checkRotated(volume, before, r)
			}
			n.boots("release 1")
			// The mode is the disk's, whatever the configuration has by now.
			other := n.how
			other.Mode = storage.TPM
			if err := n.agent().Reseal(t.Context(), n.device(storage.State), other); err != nil {
				t.Fatal(err)
			}
			if s := n.look(n.boots("release 1"), storage.State); s.By != mode {
				t.Errorf("sealed anew: %+v", s)
			}
			if err := Opens(n.device(storage.State), bytes.NewReader([]byte("any image"))); err != nil {
				t.Errorf("an image is judged: %v", err)
			}
			// A token that is damaged opens nothing; the recovery key does, and the token is made anew.
			if err := n.cryptsetup.PutToken(t.Context(), n.device(storage.State), luks.Token{Number: sealedToken, JSON: []byte(`{"type":"cyvive-x","keyslots":[]}`)}); err != nil {
				t.Fatal(err)
			}
			v := n.boot("release 1")
			if reason := n.unlock(v, storage.State); !strings.HasPrefix(reason, "no key: ") {
				t.Errorf("without a token: %q", reason)
			}
			if err := errors.Join(v.Recover(t.Context(), storage.State, n.device(storage.State), r), v.Reseal(t.Context(), n.device(storage.State), n.how)); err != nil {
				t.Fatal(err)
			}
			n.boots("release 1")
		})
	}
}

// TestKeyServerAway: the node asks for as long as it takes, and opens its disk when the server is back; it is never given up.
func TestKeyServerAway(t *testing.T) {
	t.Parallel()
	n, s := atServer(t)
	v := n.boot("release 1")
	s.Stop()
	n.tries(v, kms.ErrServer, "it cannot be reached")
	s.Start()
	if reason := n.unlock(v, storage.State); reason != "" {
		t.Fatal(reason)
	}
	if state := n.look(v, storage.State); state.Waits != "" {
		t.Errorf("open, and it waits: %+v", state)
	}
	v = n.boot("release 1")
	s.Behave(kmstest.Manner{Delay: 3 * time.Second})
	n.tries(v, kms.ErrServer, "no answer within 1s")
	s.Behave(kmstest.Manner{Answer: bytes.Repeat([]byte{1}, wrap.SecretBytes)})
	n.tries(v, kms.ErrServer, "gives out another key")
	s.Behave(kmstest.Manner{})
	if reason := n.unlock(v, storage.State); reason != "" {
		t.Fatal(reason)
	}
}

// TestKeyServerLost: the recovery key opens the disk, and another server keeps the key from then on.
func TestKeyServerLost(t *testing.T) {
	t.Parallel()
	n, s := atServer(t)
	key, err := n.agent().RecoveryKey()
	if err != nil {
		t.Fatal(err)
	}
	s.Stop()
	v := n.boot("release 1")
	n.tries(v, kms.ErrServer, "it cannot be reached")
	if err := v.Recover(t.Context(), storage.State, n.device(storage.State), key); err != nil {
		t.Fatal(err)
	}
	if err := v.Reseal(t.Context(), n.device(storage.State), n.how); !errors.Is(err, kms.ErrServer) {
		t.Errorf("sealed at a server that is away: %v", err)
	}
	if err := v.Reseal(t.Context(), n.device(storage.State), storage.Encryption{Mode: storage.KMS}); !errors.Is(err, ErrNoKeyServer) {
		t.Errorf("without a server: %v", err)
	}
	next := kmstest.New(t, nil)
	n.how.Server = server(next)
	if got := n.look(v, storage.State).Server; got != server(s) {
		t.Errorf("before, it is said to be sealed at %+v", got)
	}
	if err := v.Reseal(t.Context(), n.device(storage.State), n.how); err != nil {
		t.Fatal(err)
	}
	if got := n.look(v, storage.State).Server; got != server(next) {
		t.Errorf("it is said to be sealed at %+v", got)
	}
	n.how.Server = storage.KeyServer{} // what the next boot needs is on the disk
	n.boots("release 1")
	if asked := next.Asked(); !slices.Equal(asked, []string{"Seal " + thisMachine, "Unseal " + thisMachine, "Unseal " + thisMachine}) {
		t.Errorf("the other server was asked %q", asked)
	}
}

// TestOtherMachineAndHeader: a disk in another machine is refused for good; one whose token was changed waits for a better answer, which never comes.
func TestOtherMachineAndHeader(t *testing.T) {
	t.Parallel()
	n, s := atServer(t)
	n.uuid = otherMachine
	asked := len(s.Asked())
	if reason := n.unlock(n.boot("release 1"), storage.State); !strings.Contains(reason, wrap.ErrOtherMachine.Error()) || len(s.Asked()) != asked {
		t.Errorf("another machine is refused with %q; the server was asked %q", reason, s.Asked())
	}
	n.uuid = ""
	if reason := n.unlock(n.boot("release 1"), storage.State); !strings.Contains(reason, wrap.ErrNoMachine.Error()) {
		t.Errorf("a machine without a UUID is refused with %q", reason)
	}
	n.uuid = thisMachine
	h, err := luks.Inspect(n.device(storage.State))
	if err != nil {
		t.Fatal(err)
	}
	token, err := kms.ParseToken(tokenOf(h, kms.TokenType))
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*kms.Token){
		"sealed": func(t *kms.Token) { t.Sealed[20] ^= 1 }, "half": func(t *kms.Token) { t.Half[20] ^= 1 }, "wrapped": func(t *kms.Token) { t.Wrapped[20] ^= 1 },
	} {
		changed := token
		changed.Sealed, changed.Half, changed.Wrapped = bytes.Clone(token.Sealed), bytes.Clone(token.Half), bytes.Clone(token.Wrapped)
		change(&changed)
		text, err := changed.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if err := n.cryptsetup.PutToken(t.Context(), n.device(storage.State), luks.Token{Number: sealedToken, JSON: text}); err != nil {
			t.Fatal(err)
		}
		v := n.boot("release 1")
		if err := v.Unlock(t.Context(), storage.State, n.device(storage.State), n.how); !errors.Is(err, kms.ErrServer) || !strings.Contains(err.Error(), "the header of the volume was changed") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestPassphrase: another one, and none, is waited for; one that was seen not to open the disk is not computed again.
func TestPassphrase(t *testing.T) {
	t.Parallel()
	n := byPassphrase(t)
	for _, c := range []struct {
		text string
		is   error
		says string
	}{{"", passphrase.ErrNone, "kind DiskPassphrase"}, {"another passphrase", passphrase.ErrWrong, "another passphrase than the disk was made with"}} {
		v := n.boot("release 1")
		n.how.Passphrase = storage.NewSecret(c.text)
		n.tries(v, c.is, c.says)
		n.how.Passphrase = storage.NewSecret(goodPassphrase)
		if reason := n.unlock(v, storage.State); reason != "" {
			t.Fatal(reason)
		}
	}
	v := n.boot("release 1")
	n.how.Passphrase = storage.NewSecret("another passphrase")
	if err := v.Unlock(t.Context(), storage.State, n.device(storage.State), n.how); !errors.Is(err, passphrase.ErrWrong) || v.vain == (vain{}) {
		t.Errorf("%v, and it is not known that it was tried", err)
	}
	data, err := os.ReadFile(n.device(storage.State))
	if err != nil || bytes.Contains(data, []byte(goodPassphrase)) {
		t.Errorf("the passphrase is on the disk: %v", err)
	}
	// It is changed by sealing anew, and the one before opens nothing then.
	n.how.Passphrase = storage.NewSecret(goodPassphrase)
	v = n.boots("release 1")
	n.how.Passphrase = storage.NewSecret("the next passphrase")
	if err := v.Reseal(t.Context(), n.device(storage.State), n.how); err != nil {
		t.Fatal(err)
	}
	n.boots("release 1")
	// Other keys are no other passphrase, whatever is given by now.
	whole := n.files()
	for text, is := range map[string]error{goodPassphrase: passphrase.ErrWrong, "a third passphrase": passphrase.ErrWrong, "": passphrase.ErrNone} {
		n.how.Passphrase = storage.NewSecret(text)
		if err := n.agent().Rotate(t.Context(), storage.State, n.device(storage.State), n.how); !errors.Is(err, is) {
			t.Errorf("keys were changed with %q: %v", text, err)
		}
		if !maps.EqualFunc(whole, n.files(), bytes.Equal) {
			t.Errorf("with %q something was changed", text)
		}
	}
	n.how.Passphrase = storage.NewSecret("the next passphrase")
	if err := n.agent().Rotate(t.Context(), storage.State, n.device(storage.State), n.how); err != nil {
		t.Error(err)
	}
	n.boots("release 1")
	n.how.Passphrase = storage.NewSecret(goodPassphrase)
	n.tries(n.boot("release 1"), passphrase.ErrWrong, "another passphrase")
	n.how.Passphrase = storage.Secret{}
	if err := v.Reseal(t.Context(), n.device(storage.State), n.how); !errors.Is(err, passphrase.ErrNone) {
		t.Errorf("sealed by none: %v", err)
	}
}

// TestOtherWaysRefuse: what the next boot could not open is not made, and the disk stays as it was.
func TestOtherWaysRefuse(t *testing.T) {
	t.Parallel()
	loopbackUp(t)
	away, silly := kmstest.New(t, nil), kmstest.New(t, nil)
	away.Stop()
	silly.Behave(kmstest.Manner{Answer: bytes.Repeat([]byte{1}, 60)})
	long := server(silly)
	silent := kmstest.New(t, nil)
	long.Endpoint, long.CA = "https://"+silent.Address(), silent.CA()+strings.Repeat("\n", 9000)
	for name, c := range map[string]struct {
		how  storage.Encryption
		uuid string
		says string
	}{
		"server away":        {storage.Encryption{Mode: storage.KMS, Server: server(away)}, thisMachine, "it cannot be reached"},
		"server forgets":     {storage.Encryption{Mode: storage.KMS, Server: server(silly)}, thisMachine, "something else than it was asked to seal"},
		"no room":            {storage.Encryption{Mode: storage.KMS, Server: long}, thisMachine, "a header has room for"},
		"no server":          {storage.Encryption{Mode: storage.KMS}, thisMachine, ErrNoKeyServer.Error()},
		"no UUID":            {storage.Encryption{Mode: storage.KMS, Server: server(silly)}, "Not Settable", wrap.ErrNoMachine.Error()},
		"no passphrase":      {storage.Encryption{Mode: storage.Passphrase}, thisMachine, "no passphrase was given to this machine"},
		"no mode":            {storage.Encryption{}, thisMachine, "nothing is encrypted in the mode"},
		"a TPM that is none": {sealedToTPM, thisMachine, "no TPM 2.0"},
	} {
		n := newDisks(t)
		n.uuid = c.uuid
		v := n.boot("release 1")
		if err := v.Encrypt(t.Context(), storage.State, n.device(storage.State), c.how); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: got %v, want %q in it", name, err, c.says)
		}
		if err := v.Sealing(c.how).Enclose(t.Context(), n.device(storage.State), bytes.NewReader(nil)); err == nil {
			t.Errorf("%s: another disk was made", name)
		}
		if data, err := os.ReadFile(n.device(storage.State)); err != nil || len(bytes.Trim(data, "\x00")) > 0 {
			t.Errorf("%s: the disk was changed: %v", name, err)
		}
	}
}

// TestEncloseOtherWays: a volume of another disk opens as one that the node has made itself.
func TestEncloseOtherWays(t *testing.T) {
	t.Parallel()
	loopbackUp(t)
	s := kmstest.New(t, nil)
	for _, how := range []storage.Encryption{
		{Mode: storage.KMS, Server: server(s)}, {Mode: storage.Passphrase, Passphrase: storage.NewSecret(goodPassphrase)},
	} {
		n := newDisks(t)
		n.how = how
		sealing := n.boot("release 1").Sealing(how)
		if err := sealing.WouldOpen(bytes.NewReader([]byte("any image"))); err != nil {
			t.Errorf("%s: %v", how.Mode, err)
		}
		plain := make([]byte, 12<<20)
		_, _ = rand.Read(plain)
		if err := sealing.Enclose(t.Context(), n.device(storage.State), bytes.NewReader(plain)); err != nil {
			t.Fatal(err)
		}
		v := n.boot("release 1")
		if reason := n.unlock(v, storage.State); reason != "" {
			t.Errorf("%s: %s", how.Mode, reason)
		}
		if err := v.Enrol(t.Context(), storage.State, n.device(storage.State)); err != nil {
			t.Errorf("%s: %v", how.Mode, err)
		}
		if _, err := v.RecoveryKey(); err != nil {
			t.Errorf("%s: %v", how.Mode, err)
		}
	}
	s.Stop()
	n := newDisks(t)
	if err := n.boot("release 1").Sealing(storage.Encryption{Mode: storage.KMS, Server: server(s)}).WouldOpen(nil); !errors.Is(err, kms.ErrServer) {
		t.Errorf("with the server away: %v", err)
	}
}

// TestAnotherRecoveryKey: in these modes too, a recovery key of something else opens nothing.
func TestAnotherRecoveryKey(t *testing.T) {
	t.Parallel()
	n, s := atServer(t)
	s.Stop()
	v := n.boot("release 1")
	if err := v.Recover(t.Context(), storage.State, n.device(storage.State), recovery.New()); !errors.Is(err, ErrOtherRecoveryKey) {
		t.Errorf("got %v", err)
	}
}
