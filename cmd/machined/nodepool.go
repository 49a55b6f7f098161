package main

import (
	"github.com/cyvive/cyvive/internal/storage/nodepool"
	"github.com/cyvive/cyvive/internal/storage/pool/zpool"
	"github.com/cyvive/cyvive/internal/storage/zfs/command"
)

// nodePool is the node's own pool, by the programs of OpenZFS.
func nodePool(run command.Runner) nodepool.Pools {
	return nodepool.New(zpool.New(zpool.RunnerFunc(run.Zpool)), command.NewSystem(run), "/proc")
}
