package main

import (
	"testing"

	"github.com/cyvive/cyvive/images/internal/lock"
)

func TestKernelRelease(t *testing.T) {
	named := func(names ...string) (out []lock.Package) {
		for _, n := range names {
			out = append(out, lock.Package{Name: n})
		}
		return out
	}
	for want, packages := range map[string][]lock.Package{
		"6.12.117+deb13-amd64": named("linux-libc-dev", "linux-image-amd64", "linux-image-6.12.117+deb13-amd64"),
		"":                     named("linux-image-amd64", "linux-headers-6.12.117+deb13-amd64"),
	} {
		if got := kernelRelease(packages, "amd64"); got != want {
			t.Errorf("kernel release is %q, want %q", got, want)
		}
	}
}
