// Package containertest has a container.Runtime in memory, and the test that every
// implementation must pass: the fake here and the real one on containerd.
package containertest
