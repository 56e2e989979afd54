// Copies the text of the element that a button's data-copy names; says so on the button.
"use strict";
for (const button of document.querySelectorAll("[data-copy]")) {
    button.addEventListener("click", async () => {
        const source = document.getElementById(button.dataset.copy);
        try {
            await navigator.clipboard.writeText(source.textContent);
            button.textContent = "Copied";
        } catch {
            // Plain http on another host has no clipboard: select the text, so that one key stroke copies it.
            getSelection().selectAllChildren(source);
            button.textContent = "Selected: press Ctrl+C";
        }
    });
}
