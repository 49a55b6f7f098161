package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// scratch is the pod's own volume.
const scratch = "/scratch"

const (
	blockBytes = 4 << 20
	pageBytes  = 4096
	// again is the pause before a hog that got no more tries once more.
	again = 100 * time.Millisecond
)

// hogs take all that they get of one thing, keep it, and ask for more until they
// are killed.
var hogs = map[string]func(){
	"memory": func() {
		for kept := [][]byte{}; ; {
			block := make([]byte, blockBytes)
			for i := 0; i < len(block); i += pageBytes {
				block[i] = 1
			}
			kept = append(kept, block)
		}
	},
	"processes": func() {
		for {
			if err := exec.Command("/proc/self/exe", "--hog=nothing").Start(); err != nil {
				time.Sleep(again)
			}
		}
	},
	"descriptors": func() {
		// Each process has a limit of its own; all of them together have the machine's.
		for range 200 {
			_ = exec.Command("/proc/self/exe", "--hog=own descriptors").Start()
		}
		select {}
	},
	"own descriptors": func() {
		for kept := []*os.File{}; ; {
			f, err := os.Open("/dev/null")
			if err != nil {
				time.Sleep(again)
				continue
			}
			kept = append(kept, f)
		}
	},
	"inodes": func() {
		for folder := 0; ; folder++ {
			dir := filepath.Join(scratch, fmt.Sprint(folder))
			if err := os.Mkdir(dir, 0o700); err != nil {
				time.Sleep(again)
				continue
			}
			for file := range 10000 {
				if err := os.WriteFile(filepath.Join(dir, fmt.Sprint(file)), nil, 0o600); err != nil {
					break
				}
			}
		}
	},
	"disk": func() {
		block := make([]byte, blockBytes)
		for file := 0; ; file++ {
			f, err := os.Create(filepath.Join(scratch, fmt.Sprint(file)))
			for err == nil {
				_, err = f.Write(block)
			}
			_ = f.Close()
			time.Sleep(again)
		}
	},
	"nothing": func() { time.Sleep(time.Hour) },
}
