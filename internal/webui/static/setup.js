// @ts-check

const output = document.querySelector("#token");
const button = document.querySelector("#copy");
const said = document.querySelector("#copied");

if (output && button && said) {
  button.removeAttribute("hidden"); // without scripts the token is selected by a click
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(output.textContent ?? "");
      said.textContent = "Copied.";
    } catch {
      getSelection()?.selectAllChildren(output);
      said.textContent = "Selected: copy it with Ctrl-C.";
    }
  });
}
