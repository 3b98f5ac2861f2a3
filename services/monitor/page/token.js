// The token of the door. The link that Bargein prints has it behind the "#", which a browser sends to
// nobody. The tab keeps it for a reload.

const KEY = "bargein.token";

export function token() {
  const given = new URLSearchParams(location.hash.slice(1)).get("token");
  if (given) {
    sessionStorage.setItem(KEY, given);
    history.replaceState(null, "", location.pathname + location.search);
  }
  return sessionStorage.getItem(KEY) ?? "";
}
