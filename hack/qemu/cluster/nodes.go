package cluster

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/cyvive/cyvive/hack/qemu/network"
)

// errCable says that there is a cable between two, and not among more or fewer.
var errCable = errors.New("a cable joins two nodes")

// machines is how many there are to be.
func (o Options) machines() int { return max(o.Nodes, 1) }

// nodes are the machines to make, each with ports of its own.
func (o Options) nodes() ([]Node, error) {
	if o.Cabled && o.machines() != 2 {
		return nil, fmt.Errorf("%w, not %d", errCable, o.machines())
	}
	wanted := []uint16{or(o.APIPort, nodeAPIPort), or(o.KubernetesPort, kubernetesPort)}
	ports, err := network.FreePorts(append(wanted, make([]uint16, 2*(o.machines()-1))...)...)
	if err != nil {
		return nil, err
	}
	var nodes []Node
	for i := range o.machines() {
		nodes = append(nodes, Node{Name: fmt.Sprintf("node%d", i+1), APIPort: ports[2*i], KubernetesPort: ports[2*i+1]})
	}
	return nodes, nil
}

// cable is the second card of a machine of two; of others there is none.
func (c *Cluster) cable(index int) []string {
	if !c.options.Cabled || len(c.record.Nodes) != 2 {
		return nil
	}
	other := c.record.Nodes[1-index]
	return network.Cable{Here: network.CableSocket, There: filepath.Join("..", other.Name, network.CableSocket)}.Arguments(index)
}

// Cable cuts the cable between two nodes, or mends it. Neither is told: frames are lost, and cards keep their carrier. A machine that is started has a cable that is
// whole, so of two that run it is the first at whose end it is cut.
func (c *Cluster) Cable(ctx context.Context, whole bool) error {
	machine, err := c.Machine(c.record.Nodes[0])
	if err != nil {
		return fmt.Errorf("cut or mend cable: %w", err)
	}
	return machine.Connect(ctx, network.CableNetdev, whole)
}
