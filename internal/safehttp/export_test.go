package safehttp

import "context"

// Control runs the check of the socket's address, which the check of resolved
// addresses otherwise forestalls.
func (c *Client) Control(network, address string) error {
	return c.control(context.Background(), network, address, nil)
}
