// Command pulled is what the image of the tests' registry holds: it says that it was run, and ends.
package main

import "fmt"

func main() { fmt.Println("pulled") }
