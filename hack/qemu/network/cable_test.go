package network

import (
	"strings"
	"testing"
)

func TestCableArguments(t *testing.T) {
	both := append(User{Wire: true}.Arguments(1), Cable{Here: "cable.sock", There: "../node1/cable.sock"}.Arguments(1)...)
	line := strings.Join(both, " ")
	for _, want := range []string{
		"-netdev dgram,id=cable0,local.type=unix,local.path=cable.sock,remote.type=unix,remote.path=../node1/cable.sock -netdev hubport,id=cablehub0,hubid=1,netdev=cable0",
		"-netdev hubport,id=net1,hubid=1 -device virtio-net-pci,netdev=net1,romfile=,mac=52:54:00:c8:00:01",
	} {
		if !strings.Contains(line, want) {
			t.Errorf("%s\nlacks %s", line, want)
		}
	}
	ids := map[string]bool{}
	for _, argument := range both {
		for _, field := range strings.Split(argument, ",") {
			if !strings.HasPrefix(field, "id=") {
				continue
			}
			if ids[field] {
				t.Errorf("%s\nhas %s twice", line, field)
			}
			ids[field] = true
		}
	}
	if first, second := strings.Index(line, MAC(1)), strings.Index(line, CableMAC(1)); first < 0 || second < first {
		t.Errorf("%s\nhas the cards in another order", line)
	}
	if CableMAC(1) == CableMAC(2) || CableMAC(1) == MAC(1) {
		t.Error("two cards have the same address")
	}
}
