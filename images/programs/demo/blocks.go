package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// block is what "/blocks" says of a block device of the machine, of which the pod has made a node: what came of opening it, and of mounting it.
type block struct {
	Name   string `json:"name"`
	Number string `json:"number"`
	Open   string `json:"open"`
	Mount  string `json:"mount"`
}

// blocks tries all block devices that the kernel has (Documentation/ABI/stable/sysfs-block), by nodes in dev. It needs CAP_MKNOD.
func blocks(sys, dev string) ([]block, error) {
	files, err := filepath.Glob(filepath.Join(sys, "class/block/*/dev"))
	if err != nil {
		return nil, err
	}
	list := []block{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // it is gone
		}
		b := block{Name: filepath.Base(filepath.Dir(file)), Number: strings.TrimSpace(string(text))}
		var major, minor uint32
		if _, err := fmt.Sscanf(b.Number, "%d:%d", &major, &minor); err != nil {
			return nil, fmt.Errorf("read the number of %s: %q: %w", b.Name, b.Number, err)
		}
		if err := b.try(dev, unix.Mkdev(major, minor)); err != nil {
			return nil, err
		}
		list = append(list, b)
	}
	return list, nil
}

func (b *block) try(dev string, number uint64) (err error) {
	dir, err := os.MkdirTemp(dev, "blocks")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	node, target := filepath.Join(dir, b.Name), filepath.Join(dir, "target")
	if err := unix.Mknod(node, unix.S_IFBLK|0o600, int(number)); err != nil {
		return fmt.Errorf("make a node of %s: %w", b.Name, err)
	}
	if err := os.Mkdir(target, 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(node, os.O_RDONLY, 0)
	if err == nil {
		f.Close()
	}
	b.Open = errorName(err)
	err = unix.Mount(node, target, "ext4", unix.MS_RDONLY, "")
	if b.Mount = errorName(err); err == nil {
		return unix.Unmount(target, 0)
	}
	return nil
}
