package config

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"filippo.io/age"
	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
)

func newKey(t testing.TB) *SealingKey {
	t.Helper()
	key, err := NewSealingKey()
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func recipientsOf(t testing.TB, keys ...*SealingKey) Recipients {
	t.Helper()
	var texts []string
	for _, k := range keys {
		texts = append(texts, k.Recipient())
	}
	to, err := ParseRecipients(texts)
	if err != nil {
		t.Fatal(err)
	}
	return to
}

// sealFor seals the secrets of documents.
func sealFor(t testing.TB, data []byte, keys ...*SealingKey) Sealed {
	t.Helper()
	out, err := recipientsOf(t, keys...).Seal(data)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// sealedText is a secret that was sealed for a place.
func sealedText(t testing.TB, secret, place string, keys ...*SealingKey) string {
	t.Helper()
	text, err := recipientsOf(t, keys...).seal(secret, place)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// TestSealed: of all secrets but those that open the disk only sealed texts are in the document, and each of the nodes reads it as if they were not sealed.
func TestSealed(t *testing.T) {
	want := full(t)
	plain, err := Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	one, two := newKey(t), newKey(t)
	sealed := sealFor(t, bytes.Replace(plain, []byte("kind: Machine\n"), []byte("kind: Machine\n# who it is\n"), 1), one, two)
	if d := cmp.Diff([]string{earlySecret}, sealed.Left); d != "" {
		t.Errorf("left in the clear (-want +got):\n%s", d)
	}
	var fields []string
	_, err = edit(plain, func(doc *yaml.Node, f []Field) {
		eachPlace(doc, f, func(field, _ string, _ *yaml.Node) { fields = append(fields, field) })
	})
	if err != nil || !slices.Contains(fields, earlySecret) {
		t.Fatalf("the secrets are %q, %v", fields, err)
	}
	if d := cmp.Diff(slices.DeleteFunc(fields, func(f string) bool { return f == earlySecret }), sealed.Fields); d != "" {
		t.Errorf("sealed (-want +got):\n%s", d)
	}
	for _, secret := range []string{"hunter2", want.Cluster.EncryptionKey.Reveal(), strings.Split(want.Machine.CA.Key.Reveal(), "\n")[1]} {
		if bytes.Contains(sealed.Documents, []byte(secret)) {
			t.Errorf("it has a secret in the clear:\n%s", sealed.Documents)
		}
	}
	if !bytes.Contains(sealed.Documents, []byte("# who it is\n")) {
		t.Error("a comment is lost")
	}
	for _, key := range []*SealingKey{one, two} {
		again, err := ParseSealingKey(key.Text())
		if err != nil {
			t.Fatal(err)
		}
		got, err := ParseSealed("user-data", sealed.Documents, again.Open)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, got, compare()); d != "" {
			t.Errorf("opened (-want +got):\n%s", d)
		}
	}
	// What is sealed is not sealed again, nobody else opens it, and it can be looked at without.
	if again := sealFor(t, sealed.Documents, one); len(again.Fields) > 0 {
		t.Errorf("sealed twice: %q", again.Fields)
	}
	if _, err := ParseSealed("user-data", sealed.Documents, LeaveSealed); err != nil {
		t.Errorf("looked at: %v", err)
	}
	if _, err := Parse("user-data", sealed.Documents); err == nil || strings.Count(err.Error(), "which its node alone can open") != len(sealed.Fields) {
		t.Errorf("without a key: %v", err)
	}
	other := newKey(t)
	_, err = ParseSealed("user-data", sealed.Documents, other.Open)
	if all, ok := errors.AsType[Errors](err); !ok || len(all) != len(sealed.Fields) || all[0].File != "user-data" || all[0].Line == 0 || all[0].Field == "" ||
		!strings.Contains(all[0].Problem, "sealed for "+one.Recipient()[:12]+"…, "+two.Recipient()[:12]+"…, and this node's recipient is "+other.Recipient()) {
		t.Errorf("by another node: %v", err)
	}
	// It is shown as any secret is, and given back so.
	shown, err := Redact(sealed.Documents)
	if err != nil || HoldsSealed(shown) {
		t.Errorf("shown: %v\n%s", err, shown)
	}
	back, err := Restore(shown, sealed.Documents)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := ParseSealed("user-data", back, two.Open); err != nil || !cmp.Equal(want, got, compare()) {
		t.Errorf("given back: %v", err)
	}
	anew := sealFor(t, plain, one)
	if changed, err := ChangedSecrets(sealed.Documents, anew.Documents); err != nil || len(changed) != len(sealed.Fields) {
		t.Errorf("sealed anew: %q, %v", changed, err)
	}
}

const sealable = `apiVersion: cyvive.dev/v1alpha1
kind: Registries
registries:
  - name: one.example
    credentials: {username: node, password: hunter2}
  - name: two.example
    credentials: {username: node, password: hunter3}
`

// problems are those of a document that is no whole configuration, but for the lack of one.
func problems(data []byte, open Opener) string {
	var lines []string
	_, err := ParseSealed("f", data, open)
	all, _ := errors.AsType[Errors](err)
	for _, e := range all {
		if !strings.Contains(e.Problem, "no document of kind Machine") {
			lines = append(lines, e.Error())
		}
	}
	return strings.Join(lines, "\n")
}

// TestSealedIsNotMoved: a secret is opened where it was sealed and nowhere else.
func TestSealedIsNotMoved(t *testing.T) {
	key := newKey(t)
	sealed := string(sealFor(t, []byte(sealable), key).Documents)
	if got := problems([]byte(sealed), key.Open); got != "" {
		t.Fatalf("as it was sealed: %s", got)
	}
	first := sealed[strings.Index(sealed, "sealed:"):]
	first = first[:strings.IndexAny(first, "\n,}\"'")]
	moved := "sealed for another field, or beside another host"
	for name, test := range map[string]struct{ data, want string }{
		"another host":    {strings.Replace(sealed, "one.example", "evil.example", 1), "f:5: Registries.registries[0].credentials.password: got a text that was " + moved},
		"another item":    {strings.Replace(sealable, "hunter3", first, 1), "f:7: Registries.registries[1].credentials.password: got a text that was " + moved},
		"another order":   {strings.Replace(strings.Replace(strings.Replace(sealed, "one.", "x.", 1), "two.", "one.", 1), "x.", "two.", 1), moved},
		"the name":        {strings.Replace(sealed, "username: node", "username: "+first, 1), "Registries.registries[0].credentials.username: got a text of "},
		"a list":          {strings.Replace(sealed, "- name: one.example", "- name: one.example\n    mirrors: ["+first+"]", 1), "Registries.registries[0].mirrors[0]: got a text of "},
		"unknown field":   {strings.Replace(sealed, "kind: Registries\n", "kind: Registries\nlabel: "+first+"\n", 1), "Registries.label: unknown field"},
		"certificate":     {"apiVersion: cyvive.dev/v1alpha1\nkind: Machine\nca: {certificate: '" + first + "'}\n", "Machine.ca.certificate: got a sealed text, which nothing opens here"},
		"what opens disk": {"apiVersion: cyvive.dev/v1alpha1\nkind: Machine\ndisk: {encryption: {kms: {client: {key: '" + first + "'}}}}\n", earlySecret + ": got a sealed text, and it is needed to open the disk"},
	} {
		t.Run(name, func(t *testing.T) {
			got := problems([]byte(test.data), key.Open)
			if !strings.Contains(got, test.want) {
				t.Errorf("got %s\nwant %s", got, test.want)
			}
			if strings.Contains(got, "hunter") {
				t.Errorf("it shows a secret: %s", got)
			}
		})
	}
	_, _, err := TakePassphrase("f", []byte(strings.Replace(goodPassphrase, thePassphrase, first, 1)))
	if err == nil || !strings.Contains(err.Error(), "got a sealed text, which nothing opens here") {
		t.Errorf("a disk's passphrase: %v", err)
	}
	left := sealFor(t, []byte(goodPassphrase+"---\n"+sealable), key)
	if d := cmp.Diff([]string{"DiskPassphrase.passphrase"}, left.Left); d != "" {
		t.Errorf("left in the clear (-want +got):\n%s", d)
	}
}

// TestPlacesStay: what was sealed once is opened by all later releases only if they have the same names for places.
func TestPlacesStay(t *testing.T) {
	const documents = `kind: Machine
ca: {certificate: C, key: x}
upgrade: {sources: [{credentials: {username: u, password: x}, ca: "A\n", host: one.example}]}
disk: {encryption: {kms: {client: {key: x}}}}
---
kind: Cluster
name: demo
ca: {key: x}
frontProxyCA: {key: x}
etcdCA: {key: x}
serviceAccountKey: x
encryptionKey: x
---
kind: Registries
ca: A
registries: [{name: two.example, mirrors: ["https://m.example"], credentials: {username: u, password: x}}, {ca: A, name: three.example, credentials: {password: x}}]
`
	var places []string
	_, err := edit([]byte(documents), func(doc *yaml.Node, f []Field) {
		eachPlace(doc, f, func(_, place string, _ *yaml.Node) { places = append(places, place) })
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"Machine.ca.key", `Machine.upgrade.sources[host="one.example" ca="A\n"].credentials.password`, earlySecret,
		"Cluster.ca.key", "Cluster.frontProxyCA.key", "Cluster.etcdCA.key", "Cluster.serviceAccountKey", "Cluster.encryptionKey",
		`Registries.registries[name="two.example"].credentials.password`, `Registries.registries[name="three.example" ca="A"].credentials.password`,
	}
	if d := cmp.Diff(want, places); d != "" {
		t.Errorf("places (-want +got):\n%s", d)
	}
	if got := fmt.Sprintf("%x", placeSum("Cluster.encryptionKey")); got != "b44cb45494de43bde9e34945542fe12d06445a36a7d9e84d796c54923145e270" {
		t.Errorf("the sum of a place is %s", got)
	}
}

// TestSealedByPatch: a patch may bring a sealed secret in the place of another.
func TestSealedByPatch(t *testing.T) {
	key := newKey(t)
	sealed := sealFor(t, []byte(sealable), key).Documents
	patch := sealFor(t, []byte("kind: Registries\nregistries: [{name: two.example, credentials: {password: hunter4}}]\n"), key).Documents
	merged, err := Merge(sealed, patch)
	if err != nil {
		t.Fatal(err)
	}
	if got := problems(merged, key.Open); got != "" {
		t.Errorf("patched: %s", got)
	}
	if changed, err := ChangedSecrets(sealed, merged); err != nil || !slices.Equal(changed, []string{"Registries.registries[1].credentials.password"}) {
		t.Errorf("changed: %q, %v", changed, err)
	}
	if given, err := GivenSecrets(patch); err != nil || len(given) != 1 {
		t.Errorf("given: %q, %v", given, err)
	}
}

func TestOpen(t *testing.T) {
	key, other := newKey(t), newKey(t)
	const place = "Cluster.encryptionKey"
	good := sealedText(t, "hunter2", place, key)
	head := good[:strings.LastIndexByte(good, ':')+1]
	file, err := base64.StdEncoding.DecodeString(good[len(head):])
	if err != nil {
		t.Fatal(err)
	}
	spoilt := func(at int) string {
		f := bytes.Clone(file)
		f[at] ^= 1
		return head + base64.StdEncoding.EncodeToString(f)
	}
	var short bytes.Buffer
	w, err := age.Encrypt(&short, recipientsOf(t, key)[0])
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct{ text, want string }{
		"good":          {good, ""},
		"in a block":    {good + "\n", ""},
		"of two":        {sealedText(t, "hunter2", place, other, key), ""},
		"others":        {sealedText(t, "hunter2", place, other), "sealed for " + other.Recipient()[:12] + "…, and this node's recipient is " + key.Recipient()},
		"elsewhere":     {sealedText(t, "hunter2", place+"s", key), errMoved.Error()},
		"cut off":       {good[:len(good)-8], errDamaged.Error()},
		"cut to a head": {head, errDamaged.Error()},
		"end spoilt":    {spoilt(len(file) - 1), errDamaged.Error()},
		"head spoilt":   {spoilt(30), errDamaged.Error()},
		"key spoilt":    {spoilt(bytes.IndexByte(file[40:], '\n') + 40 + 5), errDamaged.Error()},
		"no base64":     {head + "*", errDamaged.Error()},
		"no age":        {head + base64.StdEncoding.EncodeToString([]byte("hunter2")), errDamaged.Error()},
		"nothing in it": {head + base64.StdEncoding.EncodeToString(short.Bytes()), errDamaged.Error()},
		"too long":      {sealedText(t, strings.Repeat("hunter2", 3000), place, key), "more than 16384 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := key.Open(test.text, place)
			if test.want == "" {
				if err != nil || got != "hunter2" {
					t.Errorf("got %q, %v", got, err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "hunter") || got != "" {
				t.Errorf("got %q, %v; want %s", got, err, test.want)
			}
		})
	}
	if got, err := key.Open(sealedText(t, "", place, key), place); err != nil || got != "" {
		t.Errorf("an empty text: %q, %v", got, err)
	}
	document := strings.Replace(sealable, "password: hunter2", "password: "+sealedText(t, "", `Registries.registries[name="one.example"].credentials.password`, key), 1)
	if got := problems([]byte(document), key.Open); !strings.Contains(got, "credentials.password: got a text that is none (it is not shown)") {
		t.Errorf("an empty text in a document: %s", got)
	}
}

func TestSealMistakes(t *testing.T) {
	key := newKey(t)
	for name, test := range map[string]struct{ data, want string }{
		"no text":  {strings.Replace(sealable, "hunter2", "[hunter2]", 1), "configuration:5: Registries.registries[0].credentials.password: got a list, expected a text"},
		"too long": {strings.Replace(sealable, "hunter2", strings.Repeat("hunter2", 3000), 1), "got 21000 bytes, expected at most 16384"},
		"no YAML":  {"kind: [hunter2\n", "expected YAML"},
	} {
		if _, err := recipientsOf(t, key).Seal([]byte(test.data)); err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "hunter") {
			t.Errorf("%s: %v", name, err)
		}
	}
	private := strings.TrimSpace(string(key.Text()))
	for _, bad := range [][]string{nil, {""}, {"age1"}, {key.Recipient()[:40]}, {"ssh-ed25519 AAAA"}, {key.Recipient(), private}} {
		if _, err := ParseRecipients(bad); err == nil || strings.Contains(err.Error(), private) {
			t.Errorf("recipients %q: %v", bad, err)
		}
	}
	if _, err := ParseSealingKey([]byte(private[:len(private)-3])); err == nil || strings.Contains(err.Error(), private[20:30]) {
		t.Errorf("a spoilt key: %v", err)
	}
}

// FuzzOpen: nothing opens that was not sealed, and no mistake shows what is in a text.
func FuzzOpen(f *testing.F) {
	key := newKey(f)
	const place = "Cluster.encryptionKey"
	good := sealedText(f, "hunter2", place, key)
	f.Add(good)
	f.Add(good[:len(good)-4])
	f.Add(sealedText(f, "hunter2", "Machine.ca.key", key))
	f.Fuzz(func(t *testing.T, text string) {
		got, err := key.Open(text, place)
		if (err == nil) != (got == "hunter2") {
			t.Errorf("%q opens to %q, %v", text, got, err)
		}
		if _, err := LeaveSealed(text, place); err == nil {
			t.Errorf("%q is left and opened", text)
		}
		_ = problems([]byte("kind: Registries\napiVersion: cyvive.dev/v1alpha1\nca: "+text+"\n"), key.Open)
	})
}
