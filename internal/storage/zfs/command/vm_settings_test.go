package command

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// samples are values of a setting that the table allows: all words, and some of the rest.
func samples(s zfs.Setting) []string {
	all := slices.Clone(s.Words)
	switch {
	case s.Name == "volsize":
		all = append(all, "16M", "32MiB", "8388608")
	case s.Name == "volblocksize":
		all = append(all, "512", "4K", "16K", "128k", "1M")
	case s.Name == "recordsize" || s.Name == "special_small_blocks":
		all = append(all, "512", "4k", "128K", "1MiB", "16777216")
	case s.Name == "quota" || s.Name == "refquota":
		all = append(all, "64M", "1.5G", "18446744073709551615")
	case s.Sizes != nil: // reservations
		all = append(all, "1M", "0", "1.5M")
	case s.Numbers != nil:
		all = append(all, "0", "12", "18446744073709551614")
	case s.Path:
		all = append(all, "/srv", "/srv/a b/c", "/")
	}
	return all
}

// TestVMSettings: every value that the table allows can be set, and is shown as the table says.
func TestVMSettings(t *testing.T) {
	longOnly(t)
	l := newLab(t)
	l.all("create -u $/filesystem", "create -s -V 8M $/volume")
	for _, kind := range []zfs.Kind{zfs.Filesystem, zfs.Volume} {
		var settings []zfs.Setting
		rounds := 0
		for _, s := range zfs.Settings() {
			switch {
			case !slices.Contains(s.Kinds, kind) || s.CreateOnly:
			case s.Name == "readonly" || s.Name == "volmode":
				// Not with others: a volume that is read-only takes no other size, and one without a device nothing that is about that.
				defer l.each(kind, s)
			default:
				settings = append(settings, s)
				rounds = max(rounds, len(samples(s)))
			}
		}
		for round := range rounds {
			properties, want := map[string]string{}, map[string]string{}
			for _, s := range settings {
				all := samples(s)
				value := all[round%len(all)]
				properties[s.Name] = value
				if value != "auto" {
					want[s.Name] = s.Shown(value)
				}
				if err := zfs.CheckProperty(kind, s.Name, value, false); err != nil {
					t.Error(err)
				}
			}
			name := l.base + "/" + string(kind)
			if err := l.Set(l.ctx, name, properties); err != nil {
				l.blame(name, properties)
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, l.shown(name, want)); diff != "" {
				t.Errorf("%s, round %d (-want +got):\n%s", kind, round, diff)
			}
		}
	}
}

// each sets a property to one value after the other.
func (l *lab) each(kind zfs.Kind, s zfs.Setting) {
	l.t.Helper()
	name := l.base + "/" + string(kind)
	for _, value := range samples(s) {
		if err := l.Set(l.ctx, name, map[string]string{s.Name: value}); err != nil {
			l.t.Error(err)
		}
		if diff := cmp.Diff(map[string]string{s.Name: s.Shown(value)}, l.shown(name, map[string]string{s.Name: ""})); diff != "" {
			l.t.Errorf("%s %s=%s (-want +got):\n%s", kind, s.Name, value, diff)
		}
	}
}

// blame says which of several properties cannot be set.
func (l *lab) blame(name string, properties map[string]string) {
	for property, value := range properties {
		if err := l.Set(l.ctx, name, map[string]string{property: value}); err != nil {
			l.t.Error(err)
		}
	}
}

// shown are the values of properties.
func (l *lab) shown(name string, properties map[string]string) map[string]string {
	l.t.Helper()
	var names []string
	for property := range properties {
		names = append(names, property)
	}
	all, err := l.List(l.ctx, zfs.Query{Roots: []string{name}, Kinds: []zfs.Kind{zfs.Filesystem, zfs.Volume}, Properties: names})
	if err != nil || len(all) != 1 {
		l.t.Fatalf("%d datasets, %v", len(all), err)
	}
	got := map[string]string{}
	for property, p := range all[0].Properties {
		got[property] = p.Value
	}
	return got
}

// TestVMInherit: what the table calls inherited can be inherited again, and nothing else; that has a value in its place.
func TestVMInherit(t *testing.T) {
	longOnly(t)
	l := newLab(t)
	l.all("create -u $/filesystem", "create -s -V 8M $/volume")
	for _, s := range zfs.Settings() {
		if s.CreateOnly {
			continue
		}
		for _, kind := range s.Kinds {
			name := l.base + "/" + string(kind)
			if err := l.Inherit(l.ctx, name, s.Name); s.Inherited && err != nil || !s.Inherited && !errors.Is(err, zfs.ErrInvalid) {
				t.Errorf("inherit %s of a %s: %v", s.Name, kind, err)
			}
			if s.Cleared == "" {
				continue
			}
			if err := l.Set(l.ctx, name, map[string]string{s.Name: s.Cleared}); err != nil {
				t.Error(err)
			}
			want := map[string]string{s.Name: s.Shown(s.Cleared)}
			if diff := cmp.Diff(want, l.shown(name, want)); diff != "" {
				t.Errorf("%s %s=%s (-want +got):\n%s", kind, s.Name, s.Cleared, diff)
			}
		}
	}
}

// TestVMCreateOnly: what is chosen when a dataset is made can be chosen then, and not later.
func TestVMCreateOnly(t *testing.T) {
	longOnly(t)
	l := newLab(t)
	n := 0
	for _, s := range zfs.Settings() {
		if !s.CreateOnly {
			continue
		}
		kind, o := s.Kinds[0], zfs.CreateOptions{}
		if kind == zfs.Volume {
			o = zfs.CreateOptions{SizeBytes: 8 << 20, Sparse: true}
		}
		for _, value := range samples(s) {
			n++
			name := fmt.Sprintf("%s/%d", l.base, n)
			o.Properties = map[string]string{s.Name: value}
			if err := zfs.CheckProperty(kind, s.Name, value, true); err != nil {
				t.Error(err)
			}
			if err := l.Create(l.ctx, name, o); err != nil {
				t.Error(err)
				continue
			}
			want := map[string]string{s.Name: s.Shown(value)}
			if diff := cmp.Diff(want, l.shown(name, want)); diff != "" {
				t.Errorf("%s=%s (-want +got):\n%s", s.Name, value, diff)
			}
			if err := l.Set(l.ctx, name, o.Properties); err == nil {
				t.Errorf("%s was set later", s.Name)
			}
		}
	}
}

// TestVMRefusedValues: what the table refuses of a kind of values, zfs does not take either. What is refused beyond that has its reason in the table.
func TestVMRefusedValues(t *testing.T) {
	longOnly(t)
	l := newLab(t)
	l.all("create -u $/filesystem", "create -s -V 8M $/volume")
	for _, s := range zfs.Settings() {
		values := []string{"bogus", "-1"}
		if s.Sizes != nil {
			values = append(values, "1X", "99999999999999999999", "1KK")
			if s.Sizes.PowerOfTwo {
				values = append(values, "3K", "256", "32M")
			}
		}
		for _, kind := range s.Kinds {
			for _, value := range values {
				if err := s.Check(value); err == nil {
					t.Errorf("%s=%s passes", s.Name, value)
				}
				if err := l.zfs("set", "-u", "--", s.Name+"="+value, "$/"+string(kind)); err == nil {
					t.Errorf("zfs takes %s=%s", s.Name, value)
				}
			}
		}
	}
}

// TestVMUserProperties: names and values of one's own come back as they were.
func TestVMUserProperties(t *testing.T) {
	longOnly(t)
	l := newLab(t)
	values := map[string]string{
		"x:empty": "", "x:dash": "-", "x:number": "007", "x:large": "18446744073709551615", "x:quotes": `a="b\c',d`, "x:space": "  a  b ", "x:none": "none",
		"x:" + strings.Repeat("n", zfs.MaxUserNameBytes-2): "long name", "0-_.:": "odd name", "x:longest": strings.Repeat("v", zfs.MaxUserValueBytes),
	}
	for name, value := range values {
		if err := zfs.CheckProperty(zfs.Filesystem, name, value, false); err != nil {
			t.Error(err)
		}
		if err := l.Set(l.ctx, l.base, map[string]string{name: value}); err != nil {
			t.Error(err)
		}
	}
	if diff := cmp.Diff(values, l.shown(l.base, values)); diff != "" {
		t.Errorf("properties (-want +got):\n%s", diff)
	}
	// Others may have set what is no ASCII. It is not read as something else, and does not matter to who does not ask for it.
	l.must("set", "x:other=gr\u00fc\u00dfe", "$")
	if got, err := l.List(l.ctx, zfs.Query{Roots: []string{l.base}, Properties: []string{"x:other"}}); err == nil || !strings.Contains(err.Error(), "no ASCII") {
		t.Errorf("what is no ASCII comes back as %v, %v", got, err)
	}
	if got := l.shown(l.base, map[string]string{"x:number": ""}); got["x:number"] != "007" {
		t.Errorf("beside it there is %q", got)
	}
	for _, name := range []string{"x:" + strings.Repeat("n", zfs.MaxUserNameBytes-1), "x:A", "x:y z", "x"} {
		if err := zfs.CheckUserName(name); err == nil {
			t.Errorf("%q passes", name)
		}
		if err := l.zfs("set", "--", name+"=1", "$"); err == nil {
			t.Errorf("zfs takes %q", name)
		}
	}
	if err := l.zfs("set", "--", "x:y="+strings.Repeat("v", zfs.MaxUserValueBytes+1), "$"); err == nil {
		t.Error("zfs takes a value that is too long")
	}
}
