package networktest

import "testing"

func TestFakeConforms(t *testing.T) {
	h := &Host{}
	h.AddLink("veth0", "52:54:00:00:00:01", false)
	h.SetCarrier("veth0", true)
	h.AddLink("veth2", "52:54:00:00:00:02", false)
	h.SetCarrier("veth2", true)
	Conformance(t, h, "veth0", "veth2")
}
