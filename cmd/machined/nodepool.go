package main

import (
	"github.com/cyvive/cyvive/internal/storage/nodepool"
	"github.com/cyvive/cyvive/internal/storage/pool/zpool"
	"github.com/cyvive/cyvive/internal/storage/zfs/command"
)

// nodePool is the node's own pool, by the programs of OpenZFS.
func nodePool() nodepool.Pools {
	return nodepool.New(zpool.New(zpool.RunnerFunc(programs().Zpool)), command.NewSystem(programs()), "/proc")
}
