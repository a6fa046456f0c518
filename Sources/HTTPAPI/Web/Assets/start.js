/**
 * Runs before the page is drawn. A browser in which somebody is signed in does not show the form for a moment, and a form that
 * is sent before the modules are there waits for them.
 */
(function () {
    "use strict";
    let isKnown = false;
    try {
        isKnown = localStorage.getItem("therapybridge.known") === "1";
    } catch {
        // There is no storage, or the user has disabled it.
    }
    document.documentElement.dataset.stage = isKnown ? "known" : "form";
    document.addEventListener("submit", function (event) {
        if (event.target.id !== "sign-in-form" || document.documentElement.dataset.ready) return;
        event.preventDefault();
        document.documentElement.dataset.submitted = "yes";
        const button = document.getElementById("sign-in-submit");
        button.disabled = true;
        button.textContent = button.dataset.busy;
    });
})();
