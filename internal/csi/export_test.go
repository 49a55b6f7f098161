package csi

// What tests of this package's own look at.
var (
	ComponentOf = componentOf
	IsComponent = isComponent
	CheckName   = checkName
	PublishedAt = publishedAt
)

// CheckParameter says whether a parameter of a class is taken.
func (d *Driver) CheckParameter(name, value string) error {
	_, err := d.parametersOf(map[string]string{name: value}, nil)
	return err
}

// Target makes a path of kubelet's relative.
func (d *Driver) Target(p string) (string, error) { return d.target(p) }
