package store

import (
	"slices"
	"time"

	"tract"
)

// User is a chat end user of one client.
type User struct {
	ID        int64
	Client    int64
	AuthID    string // the client's own identifier
	UserName  string // ours: opaque, stable
	Details   Details
	CreatedAt time.Time
}

// Details are what is known of a user.
type Details struct {
	Name         string         `json:"name,omitempty"`
	Email        string         `json:"email,omitempty"`
	MobileNo     string         `json:"mobile_no,omitempty"`
	LanguageCode string         `json:"language_code,omitempty"`
	PhoneModel   string         `json:"phone_model,omitempty"`
	OSVersion    string         `json:"os_version,omitempty"`
	PackageName  string         `json:"package_name,omitempty"`
	Custom       map[string]any `json:"custom_data,omitempty"`
}

// UserByAuthID reads a user; ErrNotFound when there is none.
func (tx *Tx) UserByAuthID(client int64, authID string) (User, error) {
	return tx.user(`client = $1 and auth_id = $2`, client, authID)
}

// UserByName reads a user by our name for it; ErrNotFound when there is none.
func (tx *Tx) UserByName(client int64, name string) (User, error) {
	return tx.user(`client = $1 and user_name = $2`, client, name)
}

// User reads a user by its number; ErrNotFound when there is none.
func (tx *Tx) User(client, id int64) (User, error) {
	return tx.user(`client = $1 and id = $2`, client, id)
}

func (tx *Tx) user(where string, args ...any) (u User, err error) {
	found, err := tx.one([]any{&u.ID, &u.Client, &u.AuthID, &u.UserName, js(&u.Details), at(&u.CreatedAt)},
		`select id, client, auth_id, user_name, details, created_at from users where `+where, args...)
	if err == nil && !found {
		err = ErrNotFound.With("no such user")
	}
	return u, err
}

// PutUser creates the user or, when its auth id is known, replaces its details.
// The name it was first given stays. It returns the user as stored.
func (tx *Tx) PutUser(u User) (User, error) {
	_, err := tx.writeOne([]any{&u.ID, &u.UserName, at(&u.CreatedAt)}, upsertUser, u.Client, u.AuthID, u.UserName, toJSON(u.Details), tx.Now)
	tx.threads.dropUser(u.ID)
	tx.about = u.ID
	return u, err
}

func businessesOf(c *tract.Config, tool tract.ReceiverID) []int64 {
	out := []int64{}
	for id, b := range c.Businesses {
		if slices.Contains(b.Tools, tool) {
			out = append(out, id)
		}
	}
	slices.Sort(out)
	return out
}
