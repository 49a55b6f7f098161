package uevent

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParse(t *testing.T) {
	msg := "add@/devices/pci0000:00/0000:00:03.0/virtio1/block/vda\x00ACTION=add\x00" +
		"DEVPATH=/devices/pci0000:00\x00SUBSYSTEM=block\x00DEVNAME=vda\x00DEVTYPE=disk\x00MODALIAS=virtio:d2v1\x00SEQNUM=7\x00"
	got, err := Parse([]byte(msg))
	want := Event{
		Action: "add", DevPath: "/devices/pci0000:00/0000:00:03.0/virtio1/block/vda",
		Subsystem: "block", DevName: "vda", Modalias: "virtio:d2v1",
	}
	if d := cmp.Diff(want, got); d != "" || err != nil {
		t.Errorf("%v\n%s", err, d)
	}
	for _, bad := range []string{"", "add", "add@/x", "@/x\x00", "add@x\x00", "libudev\x00\xfe\xed\xca\xfe"} {
		if _, err := Parse([]byte(bad)); err == nil {
			t.Errorf("Parse(%q): no error", bad)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("add@/devices/x\x00SUBSYSTEM=input\x00DEVNAME=input/event3\x00"))
	f.Add([]byte("\x00\x00@/"))
	f.Fuzz(func(t *testing.T, msg []byte) {
		e, err := Parse(msg)
		if err == nil && (e.Action == "" || e.DevPath == "") {
			t.Errorf("Parse(%q) = %+v", msg, e)
		}
	})
}
