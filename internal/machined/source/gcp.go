package source

import "context"

// gcp is Google Compute Engine.
//
// Facts, from the documentation of Compute Engine: "View and query VM metadata" (the header Metadata-Flavor, with which a request must come;
// 503 for less than a second during maintenance), "About VM metadata" (custom keys, 256 KB for a value, and that X-Forwarded-For is refused),
// "Troubleshooting metadata server access issues" (403, 404 and 429), "Detect if a VM is running in Compute Engine" (the product's name, and
// Metadata-Flavor: Google in each answer). The server is asked at its address and not by its name, which DNS would have to tell.
//
// The key cyvive-config is asked for first, so that user-data can be left to tools that fill it.
func gcp() platform {
	return platform{
		name: "gcp", title: "Google Cloud",
		is:    func(f Facts) bool { return f.Product == "Google Compute Engine" },
		bases: []string{linkLocal},
		fetch: fetchGCP,
	}
}

const googleHeader = "Metadata-Flavor"

func fetchGCP(ctx context.Context, c *client, base string) (found, error) {
	for _, key := range []string{"cyvive-config", "user-data"} {
		url := base + "/computeMetadata/v1/instance/attributes/" + key
		a, err := c.ask(ctx, "GET", url, map[string]string{googleHeader: "Google"})
		if err != nil {
			return found{}, err
		}
		if a.header.Get(googleHeader) != "Google" {
			return found{}, &trouble{reason: url + ": the answer has no field " + googleHeader + ": Google, so it is not the platform's"}
		}
		if !a.none {
			return found{url, a.body}, nil
		}
	}
	return found{}, nil
}
