package main

import (
	"os"
	"strings"
	"testing"
)

func TestRefusesElsewhere(t *testing.T) {
	for _, c := range []struct {
		pid  int
		args []string
	}{
		{os.Getpid(), []string{"etcd", "--data-dir=" + dataDir}},
		{1, []string{"badetcd", "--data-dir=" + dataDir}},
		{1, []string{"/usr/bin/etcd", "--data-dir=/tmp"}},
	} {
		if err := run(c.pid, c.args); err == nil || !strings.Contains(err.Error(), "refused") {
			t.Errorf("as process %d with %q: %v", c.pid, c.args, err)
		}
	}
}
