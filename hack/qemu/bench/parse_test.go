package bench

import (
	"slices"
	"strings"
	"testing"
	"time"
)

func TestKernelTime(t *testing.T) {
	for line, want := range map[string]time.Duration{
		"[    0.000000] Linux version 6.12":                 0,
		"[    1.250000] x":                                  1250 * time.Millisecond,
		"[  101.000001] x":                                  101*time.Second + time.Microsecond,
		"[    2.000000,    T1] with the task, from 6.16 on": 2 * time.Second,
	} {
		if !kernelTime.MatchString(line) {
			t.Errorf("%q is not taken for a line of the kernel", line)
		} else if got := sinceStart(line); got.Round(time.Microsecond) != want {
			t.Errorf("%q: got %s, want %s", line, got, want)
		}
	}
	for _, line := range []string{"", "systemd[1]: [1.000000] x", "[ OK ] Started x", "[1.5] x"} {
		if kernelTime.MatchString(line) {
			t.Errorf("%q is taken for a line of the kernel", line)
		}
	}
}

func TestParseNode(t *testing.T) {
	const node = `{"status":{"conditions":[{"type":"DiskPressure","status":"False"},
		{"type":"Ready","status":"True","message":"m","lastHeartbeatTime":"2026-11-24T10:00:00Z"}]}}`
	began := time.Date(2026, 11, 24, 10, 0, 0, 900e6, time.UTC)
	if err := parseNode([]byte(node), began); err != nil {
		t.Errorf("heartbeats have whole seconds: %v", err)
	}
	for text, since := range map[string]time.Time{
		node: began.Add(time.Second),
		strings.Replace(node, `"Ready","status":"True"`, `"Ready","status":"Unknown"`, 1): began,
		`{}`: began, `[`: began,
	} {
		if parseNode([]byte(text), since) == nil {
			t.Errorf("%s passes for Ready since %s", text, since)
		}
	}
}

const netDev = `Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo: 9000000     100    0    0    0     0          0         0  9000000     100    0    0    0     0       0          0
  eth0:    1000      10    0    0    0     0          0         0     200       5    0    0    0     0       0          0
enp0s3:       7       1    0    0    0     0          0         0      30       1    0    0    0     0       0          0
 veth1:      50       1    0    0    0     0          0         0      50       1    0    0    0     0       0          0
`

const meminfo = "MemTotal:        4000000 kB\nMemFree:  100 kB\nMemAvailable:    3000000 kB\nHugePages_Total:       0\n"

const stat = "71 (qemu (x) y) S 1 71 71 0 -1 4194560 1 0 0 0 250 50 9 9 20 0 9 0 4711 1000 25"

func TestCounters(t *testing.T) {
	if got, err := cardBytes(netDev); got != 1237 || err != nil {
		t.Errorf("network: got %d, %v; want what eth0 and enp0s3 counted", got, err)
	}
	if got, err := usedMemory(meminfo); got != 1000000<<10 || err != nil {
		t.Errorf("memory: got %d, %v", got, err)
	}
	if got, err := cpuTime(stat); got != 3*time.Second || err != nil {
		t.Errorf("processor time: got %s, %v", got, err)
	}
	if got, err := parseMap([]byte(`[{"start":0,"length":10,"zero":false,"data":true},{"length":5,"zero":true,"data":true},{"length":7,"zero":true,"data":false}]`)); got != 10 || err != nil {
		t.Errorf("disk: got %d, %v", got, err)
	}
	for name, err := range map[string]error{
		"no card":       second(cardBytes("lo: 1 2")),
		"no memory":     second(usedMemory("MemTotal: 5 kB\nMemAvailable: 6 kB\n")),
		"no fields":     second(cpuTime("71 (x) S 1")),
		"no name":       second(cpuTime("")),
		"negative time": second(cpuTime(strings.Replace(stat, "250", "-1", 1))),
		"no map":        second(parseMap([]byte("{"))),
	} {
		if err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func second[T any](_ T, err error) error { return err }

func TestListedPrograms(t *testing.T) {
	const listing = "d\t0755\t0:0\t-\t/usr/bin\t\nf\t0755\t0:0\t<100\t/usr/bin/init\t\nf\t0644\t0:0\t9\t/usr/bin/notes\t\n" +
		"f\t0755\t0:0\t<100\t/plane/usr/bin/init\t/usr/bin/init\nf\t0755\t0:0\t5\t/usr/lib/x.so\t\nl\t0777\t0:0\t-\t/bin\tusr/bin\n"
	if got := listedPrograms(listing); !slices.Equal(got, []string{"init"}) {
		t.Errorf("got %q", got)
	}
}

func TestProgramName(t *testing.T) {
	for want, args := range map[string][]string{
		"init": {"/usr/bin/init"}, "": {}, "systemd": {"/lib/systemd/systemd", "--system"}, "nginx": {"nginx: worker process"},
		"containerd": {"/usr/bin/containerd --config x"},
	} {
		if got := programName(args); got != want {
			t.Errorf("%q: got %q, want %q", args, got, want)
		}
	}
}

func FuzzCardBytes(f *testing.F) {
	f.Add(netDev)
	f.Fuzz(func(t *testing.T, dev string) {
		n, err := cardBytes(dev)
		if err != nil {
			return
		}
		if more, err := cardBytes(dev + "\neth9: 5 0 0 0 0 0 0 0 6\n"); err != nil || more != n+11 {
			t.Errorf("%q: %d bytes, and %d, %v with a card of 11 more", dev, n, more, err)
		}
	})
}

func FuzzUsedMemory(f *testing.F) {
	f.Add(meminfo)
	f.Fuzz(func(t *testing.T, text string) {
		if n, err := usedMemory(text); err == nil && n < 0 || err != nil && n != 0 {
			t.Errorf("%q: %d, %v", text, n, err)
		}
	})
}

func FuzzCPUTime(f *testing.F) {
	f.Add(stat)
	f.Fuzz(func(t *testing.T, text string) {
		if took, err := cpuTime(text); took < 0 || err != nil && took != 0 {
			t.Errorf("%q: %s, %v", text, took, err)
		}
	})
}

func FuzzParseNode(f *testing.F) {
	f.Add([]byte(`{"status":{"conditions":[{"type":"Ready","status":"True","lastHeartbeatTime":"2026-11-24T10:00:00Z"}]}}`))
	since := time.Date(2026, 11, 24, 10, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, data []byte) {
		if parseNode(data, since) == nil && parseNode(data, since.AddDate(10000, 0, 0)) == nil {
			t.Errorf("%q passes for Ready at any time", data)
		}
	})
}

func FuzzParseMap(f *testing.F) {
	f.Add([]byte(`[{"start":0,"length":65536,"depth":0,"zero":false,"data":true,"offset":327680}]`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if n, err := parseMap(data); err != nil && n != 0 {
			t.Errorf("%q: got %d together with %v", data, n, err)
		}
	})
}

func FuzzListedPrograms(f *testing.F) {
	f.Add("f\t0755\t0:0\t<100\t/usr/bin/init\t\n")
	f.Fuzz(func(t *testing.T, listing string) {
		names := listedPrograms(listing)
		if slices.ContainsFunc(names, func(s string) bool { return strings.Contains(s, "/") && s != "/" || !strings.Contains(listing, s) }) {
			t.Errorf("%q lists %q", listing, names)
		}
		if again := listedPrograms(listing + "\n" + listing); !slices.Equal(names, again) {
			t.Errorf("%q lists %q, and twice %q", listing, names, again)
		}
	})
}
